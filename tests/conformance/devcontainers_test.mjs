// The dev-container CLI against gruad, by the docker CLI and by grua as its docker (GRUA_DOCKER_PATHS, separated by ':').
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { tmpdir } from 'node:os';
import { test } from 'node:test';

const CLI = join(import.meta.dirname, 'node_modules/@devcontainers/cli/devcontainer.js');

// The exit status, output and, of the output's last line, the JSON.
function run(program, words) {
  return new Promise((resolve) => {
    execFile(program, words, { timeout: 120_000, maxBuffer: 1 << 26 }, (error, out, err) => {
      let result = {};
      try { result = JSON.parse(out.trim().split('\n').at(-1)); } catch { /* an exec prints what it likes */ }
      resolve({ code: error ? error.code ?? 1 : 0, out, err, result });
    });
  });
}

function workspace(configuration, files = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'grua-dev-'));
  mkdirSync(join(folder, '.devcontainer'));
  writeFileSync(join(folder, '.devcontainer/devcontainer.json'), JSON.stringify(configuration));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  return folder;
}

for (const docker of process.env.GRUA_DOCKER_PATHS.split(':')) {
  const by = basename(docker);
  const dev = (command, folder, ...words) => run(process.execPath, [CLI, command, '--docker-path', docker, '--workspace-folder', folder, ...words]);
  const remove = (id) => run(docker, ['rm', '-f', '-v', id]);

  test(`${by}: up, exec, up again`, async () => {
    const folder = workspace({
      image: 'debian:bookworm',
      containerEnv: { FROM_CONTAINER: 'yes' },
      remoteEnv: { FROM_REMOTE: '${containerEnv:FROM_CONTAINER}!' },
      mounts: [{ source: 'dev-cache', target: '/cache', type: 'volume' }],
      runArgs: ['--memory', '256m', '--hostname', 'devbox'],
      onCreateCommand: 'echo created > /tmp/created',
      postCreateCommand: { one: 'echo one > /tmp/one', two: ['sh', '-c', 'echo two > /tmp/two'] },
      postStartCommand: 'date +%s%N >> /tmp/starts',
    }, { source: 'in the workspace' });
    const up = await dev('up', folder);
    assert.equal(up.result.outcome, 'success', up.err + up.out);
    const id = up.result.containerId;
    try {
      const at = up.result.remoteWorkspaceFolder;
      assert.equal(at, `/workspaces/${basename(folder)}`);
      const seen = await dev('exec', folder, 'sh', '-c', 'cat source /tmp/created /tmp/one /tmp/two; echo $FROM_CONTAINER $FROM_REMOTE; hostname; pwd; ls -d /cache');
      assert.equal(seen.out.replaceAll('\r', ''), `in the workspacecreated\none\ntwo\nyes yes!\ndevbox\n${at}\n/cache\n`, seen.err);
      assert.equal((await dev('exec', folder, 'sh', '-c', 'echo written > new; exit 7')).code, 7);
      assert.equal(readFileSync(join(folder, 'new'), 'utf8'), 'written\n');
      assert.equal((await dev('up', folder)).result.containerId, id);
      await run(docker, ['stop', '-t', '0', id]);
      assert.equal((await dev('up', folder)).result.containerId, id);
      assert.equal((await dev('exec', folder, 'sh', '-c', 'wc -l < /tmp/starts')).out.trim(), '2');
      const again = await dev('up', folder, '--remove-existing-container');
      assert.notEqual(again.result.containerId, id, again.err);
      await remove(again.result.containerId);
    } finally {
      await remove(id);
    }
  });

  test(`${by}: read-configuration and run-user-commands`, async () => {
    const folder = workspace({ image: 'debian:bookworm', name: 'named', postAttachCommand: 'echo attached >> /tmp/attached' });
    assert.equal((await dev('read-configuration', folder)).result.configuration.name, 'named');
    const up = await dev('up', folder, '--skip-post-attach');
    assert.equal(up.result.outcome, 'success', up.err);
    try {
      assert.equal((await dev('run-user-commands', folder)).result.outcome, 'success');
      assert.equal((await dev('exec', folder, 'cat', '/tmp/attached')).out.trim(), 'attached');
    } finally {
      await remove(up.result.containerId);
    }
  });

  test(`${by}: what fails is told`, async () => {
    const up = await dev('up', workspace({ image: 'debian:bookworm', postCreateCommand: 'exit 3' }));
    assert.equal(up.result.outcome, 'error');
    assert.match(up.result.message, /exit 3/);
    if (up.result.containerId) await remove(up.result.containerId);
    assert.equal((await dev('exec', workspace({ image: 'debian:bookworm' }), 'true')).code, 1);
  });

  test(`${by}: a compose project`, async () => {
    const folder = workspace({ dockerComposeFile: '../compose.yaml', service: 'app', workspaceFolder: '/work', overrideCommand: true }, {
      'compose.yaml': `
services:
  app:
    image: debian:bookworm
    volumes: [".:/work"]
    depends_on: [store]
  store:
    image: busybox
    pull_policy: never
    command: sh -c "echo stored > /index.html; exec httpd -f -h / -p 80"
`,
    });
    const up = await dev('up', folder);
    assert.equal(up.result.outcome, 'success', up.err);
    const project = up.result.composeProjectName;
    try {
      const seen = await dev('exec', folder, 'bash', '-c', 'exec 3<>/dev/tcp/store/80; printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3; tail -n 1 <&3; pwd');
      assert.equal(seen.out.replaceAll('\r', ''), 'stored\n/work\n', seen.err);
    } finally {
      await run(docker, ['compose', '-p', project, 'down', '-v', '-t', '0']);
    }
  });
}
