// testcontainers for Node, as its users write it, against gruad. Its reaper, an image of a registry, is off (TESTCONTAINERS_RYUK_DISABLED).
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';

import { DockerComposeEnvironment, GenericContainer, Network, Wait } from 'testcontainers';

const IMAGE = 'busybox:latest';
const SERVER = ['sh', '-c', 'echo hello > /index.html; httpd -h / -p 8080; echo ready; exec sleep 1000'];
const server = () => new GenericContainer(IMAGE).withCommand(SERVER).withExposedPorts(8080);
const get = async (container, path = '/') => (await fetch(`http://${container.getHost()}:${container.getMappedPort(8080)}${path}`)).text();

test('waits for a port', async () => {
  await using container = await server().withWaitStrategy(Wait.forListeningPorts()).start();
  assert.equal(await get(container), 'hello\n');
});

test('waits for a line of the log', async () => {
  await using container = await server().withWaitStrategy(Wait.forLogMessage('ready')).start();
  assert.equal(await get(container), 'hello\n');
  assert.match(await text((await container.logs()).on('data', (chunk) => String(chunk).includes('ready') && container.stop().catch(() => {}))), /ready/);
});

test('waits for an answer', async () => {
  await using container = await server().withWaitStrategy(Wait.forHttp('/index.html', 8080).forStatusCode(200).forResponsePredicate((body) => body === 'hello\n')).start();
  assert.equal(await get(container, '/index.html'), 'hello\n');
});

test('waits for health', async () => {
  await using container = await server().withHealthCheck({ test: ['CMD-SHELL', 'test -e /index.html'], interval: 200, timeout: 2000, retries: 20, startPeriod: 1000 })
    .withWaitStrategy(Wait.forHealthCheck()).start();
  assert.equal(await get(container), 'hello\n');
});

test('waits for a command, and for several things', async () => {
  await using container = await server().withWaitStrategy(Wait.forAll([Wait.forSuccessfulCommand('test -e /index.html'), Wait.forListeningPorts()])).start();
  assert.equal(await get(container), 'hello\n');
});

test('waits for an end', async () => {
  await using container = await new GenericContainer(IMAGE).withCommand(['sh', '-c', 'echo done']).withWaitStrategy(Wait.forOneShotStartup()).start();
  assert.match(await text(await container.logs()), /done/);
});

test('says when one does not come up', async () => {
  await assert.rejects(new GenericContainer(IMAGE).withCommand(['sleep', '1000']).withStartupTimeout(1500).withWaitStrategy(Wait.forLogMessage('never')).start(), /not received after 1500ms/);
  await assert.rejects(new GenericContainer(IMAGE).withCommand(['sh', '-c', 'exit 3']).withWaitStrategy(Wait.forOneShotStartup()).start(), /Container failed to start/);
});

test('exec', async () => {
  await using container = await new GenericContainer(IMAGE).withCommand(['sleep', '1000']).withEnvironment({ WORD: 'said' }).withWorkingDir('/tmp').withUser('33').start();
  assert.deepEqual(await container.exec(['sh', '-c', 'echo $WORD $(pwd) $(id -u); echo bad >&2; exit 5']),
    { output: 'said /tmp 33\nbad\n', stdout: 'said /tmp 33\n', stderr: 'bad\n', exitCode: 5 });
  assert.equal((await container.exec('env', { env: { MORE: '1' } })).stdout.includes('MORE=1'), true);
});

test('files into it and out of it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'grua-tc-'));
  writeFileSync(join(folder, 'file'), 'from a file');
  await using container = await new GenericContainer(IMAGE).withCommand(['sleep', '1000'])
    .withCopyFilesToContainer([{ source: join(folder, 'file'), target: '/file', mode: 0o600 }])
    .withCopyContentToContainer([{ content: 'from memory', target: '/deep/er/content' }])
    .withCopyDirectoriesToContainer([{ source: folder, target: '/folder' }])
    .withBindMounts([{ source: folder, target: '/bound', mode: 'ro' }])
    .withTmpFs({ '/scratch': 'rw,noexec,size=1m' }).start();
  assert.equal((await container.exec(['sh', '-c', 'cat /file /deep/er/content /folder/file /bound/file; stat -c %a /file'])).stdout,
    'from a filefrom memoryfrom a filefrom a file600\n');
  assert.notEqual((await container.exec(['touch', '/bound/new'])).exitCode, 0);
  assert.match((await container.exec(['mount'])).stdout, /tmpfs on \/scratch type tmpfs \(rw,nosuid,nodev,noexec/);
  await container.copyContentToContainer([{ content: 'later', target: '/later' }]);
  const archive = await text(await container.copyArchiveFromContainer('/later'));
  assert.match(archive, /later/);
});

test('networks and aliases', async () => {
  await using network = await new Network().start();
  await using one = await server().withNetwork(network).withNetworkAliases('web', 'www').withWaitStrategy(Wait.forLogMessage('ready')).start();
  await using two = await new GenericContainer(IMAGE).withCommand(['sleep', '1000']).withNetwork(network).withExtraHosts([{ host: 'fixed', ipAddress: '10.1.2.3' }]).start();
  for (const name of ['web', 'www']) assert.equal((await two.exec(['wget', '-qO-', `http://${name}:8080/`])).stdout, 'hello\n');
  assert.match((await two.exec(['cat', '/etc/hosts'])).stdout, /10\.1\.2\.3\s+fixed/);
  assert.equal((await two.exec(['ping', '-c', '1', '-W', '2', one.getIpAddress(network.getName())])).exitCode, 0);
});

test('restart and stop', async () => {
  const container = await server().withWaitStrategy(Wait.forLogMessage('ready')).withName('again').withLabels({ suite: 'testcontainers' }).start();
  assert.equal(container.getName(), '/again');
  await container.restart();
  assert.equal(await get(container), 'hello\n');
  const stopped = await container.stop({ remove: false });
  assert.ok(stopped.getId());
  await (await import('dockerode').then(({ default: Docker }) => new Docker())).getContainer(stopped.getId()).remove();
});

test('limits, capabilities and other settings', async () => {
  await using container = await new GenericContainer(IMAGE).withCommand(['sleep', '1000']).withResourcesQuota({ memory: 0.0625, cpu: 0.5 })
    .withSharedMemorySize(1 << 20).withUlimits({ nofile: { hard: 99, soft: 98 } }).withDroppedCapabilities('CHOWN').withAddedCapabilities('NET_ADMIN').withHostname('named').start();
  assert.equal((await container.exec(['sh', '-c', 'ulimit -n; hostname; df -k /dev/shm | tail -n 1'])).stdout.replace(/ +/g, ' ').split('\n').slice(0, 2).join(), '98,named');
  assert.notEqual((await container.exec(['chown', '33', '/tmp'])).exitCode, 0);
  const { default: Docker } = await import('dockerode');
  const { HostConfig } = await new Docker().getContainer(container.getId()).inspect();
  assert.deepEqual([HostConfig.Memory, HostConfig.NanoCpus], [64 << 20, 500_000_000]);
});

test('one that is used again', async () => {
  process.env.TESTCONTAINERS_REUSE_ENABLE = 'true';
  const reused = () => server().withWaitStrategy(Wait.forLogMessage('ready')).withReuse().start();
  const one = await reused();
  const two = await reused();
  assert.equal(one.getId(), two.getId());
  await one.stop();
});

test('many at once', async () => {
  const all = await Promise.all(Array.from({ length: 8 }, () => server().start()));
  assert.deepEqual(await Promise.all(all.map((each) => get(each))), Array(8).fill('hello\n'));
  await Promise.all(all.map((each) => each.stop()));
});

test('an image of a Dockerfile', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'grua-tc-'));
  writeFileSync(join(folder, 'Dockerfile'), 'FROM busybox AS wanted\nARG WORD\nCOPY kept /\nRUN echo $WORD > /word\nCMD ["sh", "-c", "cat /word /kept; sleep 1000"]\nFROM wanted\nRUN false\n');
  writeFileSync(join(folder, 'kept'), 'kept\n');
  for (const change of [(each) => each, (each) => each.withBuildkit(), (each) => each.withCache(false)]) {
    const image = await change(GenericContainer.fromDockerfile(folder).withBuildArgs({ WORD: 'said' }).withTarget('wanted')).build();
    await using container = await image.withWaitStrategy(Wait.forLogMessage('kept')).start();
    assert.equal((await container.exec(['cat', '/word'])).output, 'said\n');
  }
  await assert.rejects(GenericContainer.fromDockerfile(folder).build());
});

test('a compose file that builds', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'grua-tc-'));
  writeFileSync(join(folder, 'Dockerfile'), 'FROM busybox\nRUN echo built > /index.html\n');
  writeFileSync(join(folder, 'compose.yaml'), 'services:\n  web:\n    build: .\n    command: sh -c "httpd -h / -p 8080; echo ready; exec sleep 1000"\n    ports: ["8080"]\n');
  const environment = await new DockerComposeEnvironment(folder, 'compose.yaml').withBuild().withWaitStrategy('web-1', Wait.forLogMessage('ready')).up();
  assert.equal(await get(environment.getContainer('web-1')), 'built\n');
  await environment.down({ timeout: 1 });
});

test('a compose file', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'grua-tc-'));
  writeFileSync(join(folder, 'compose.yaml'), `
services:
  web:
    image: busybox
    pull_policy: never
    command: sh -c "echo hello > /index.html; httpd -h / -p 8080; echo ready; exec sleep 1000"
    ports: ["8080"]
`);
  const environment = await new DockerComposeEnvironment(folder, 'compose.yaml').withWaitStrategy('web-1', Wait.forLogMessage('ready')).up();
  assert.equal(await get(environment.getContainer('web-1')), 'hello\n');
  await environment.down();
});
