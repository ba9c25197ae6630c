// dockerode, as its users write it, against gruad. GRUA_REGISTRY is an empty registry that gruad reaches.
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { after, afterEach, test } from 'node:test';

import Docker from 'dockerode';
import tar from 'tar-stream';

const docker = new Docker();
const IMAGE = 'busybox:latest';
const made = [];

async function create(options) {
  const container = await docker.createContainer({ Image: IMAGE, Cmd: ['sleep', '1000'], ...options });
  made.push(container);
  return container;
}
async function start(options) {
  const container = await create(options);
  await container.start();
  return container;
}
// Both streams of a multiplexed answer, as text, when it has ended.
async function outputs(stream) {
  const [out, err] = [new PassThrough(), new PassThrough()];
  docker.modem.demuxStream(stream, out, err);
  stream.on('end', () => { out.end(); err.end(); });
  stream.on('close', () => { out.end(); err.end(); });
  return Promise.all([text(out), text(err)]);
}
// A progress stream to its end; its messages.
function followed(stream) {
  return new Promise((resolve, reject) => docker.modem.followProgress(stream, (error, all) => (error ? reject(error) : resolve(all))));
}
async function first(stream, wanted) {
  let rest = '';
  for await (const chunk of stream) {
    rest += chunk;
    const lines = rest.split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const value = JSON.parse(line);
      if (wanted(value)) return value;
    }
  }
  throw new Error('the stream ended before it came');
}
async function run(container, command, options = {}) {
  const exec = await container.exec({ Cmd: command, AttachStdout: true, AttachStderr: true, ...options });
  const [out, err] = await outputs(await exec.start({}));
  return { out, err, code: (await exec.inspect()).ExitCode };
}

afterEach(async () => { await Promise.all(made.splice(0).map((each) => each.remove({ force: true, v: true }).catch(() => {}))); });
after(() => docker.modem.agent?.destroy?.());

test('version, info, ping and df', async () => {
  assert.match((await docker.version()).ApiVersion, /^1\.\d+$/);
  assert.equal((await docker.info()).OSType, 'linux');
  assert.equal((await docker.ping()).toString(), 'OK');
  assert.ok((await docker.df()).Images.length > 0);
});

test('a container from create to remove', async () => {
  const container = await create({ name: 'life', Cmd: ['sh', '-c', 'echo out; echo err >&2; exit 3'], Labels: { suite: 'dockerode' }, Env: ['A=b'] });
  assert.equal((await container.inspect()).State.Status, 'created');
  const wait = container.wait({ condition: 'next-exit' });
  await container.start();
  assert.equal((await wait).StatusCode, 3);
  assert.equal(await text(Readable.from([(await container.logs({ stdout: true, stderr: false })).subarray(8)])), 'out\n');
  assert.deepEqual((await docker.listContainers({ all: true, filters: { label: ['suite=dockerode'] } })).map((each) => each.Names), [['/life']]);
  await container.remove();
  await assert.rejects(container.inspect(), { statusCode: 404, reason: 'no such container' });
});

test('docker.run', async () => {
  const [out, err] = [new PassThrough(), new PassThrough()];
  const [result, container] = await docker.run(IMAGE, ['sh', '-c', 'echo to out; echo to err >&2; exit 7'], [out, err], { Tty: false, HostConfig: { AutoRemove: true } });
  assert.equal(result.StatusCode, 7);
  out.end(); err.end();
  assert.deepEqual([await text(out), await text(err)], ['to out\n', 'to err\n']);
  await container.wait({ condition: 'removed' }).catch(() => {}); // the removal comes after the end
  await assert.rejects(container.inspect(), { statusCode: 404 });
});

test('attach with standard input', async () => {
  const container = await create({ Cmd: ['tr', 'a-z', 'A-Z'], AttachStdin: true, OpenStdin: true, StdinOnce: true });
  const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
  const all = outputs(stream);
  await container.start();
  stream.end('what goes in\ncomes out\n');
  assert.deepEqual(await all, ['WHAT GOES IN\nCOMES OUT\n', '']);
  assert.equal((await container.wait()).StatusCode, 0);
});

test('attach without standard input sends its options as a body, which nobody reads', async () => {
  const container = await create({ Cmd: ['cat'], OpenStdin: true });
  const stream = await container.attach({ stream: true, stdout: true, stderr: true });
  await container.start();
  const input = await container.attach({ stream: true, stdin: true, hijack: true });
  input.write('only this\n');
  const seen = await new Promise((resolve) => stream.once('data', resolve));
  assert.equal(seen.subarray(8).toString(), 'only this\n');
  input.destroy(); stream.destroy();
});

test('a terminal', async () => {
  const container = await create({ Cmd: ['sh'], Tty: true, OpenStdin: true, AttachStdin: true });
  const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
  await container.start();
  await container.resize({ h: 33, w: 99 });
  stream.write('stty size; exit\n');
  assert.match(await text(stream), /33 99/);
});

test('exec', async () => {
  const container = await start();
  assert.deepEqual(await run(container, ['sh', '-c', 'echo $WORD; pwd; id -u; exit 4'], { Env: ['WORD=said'], WorkingDir: '/tmp', User: '33' }),
    { out: 'said\n/tmp\n33\n', err: '', code: 4 });
  const exec = await container.exec({ Cmd: ['cat'], AttachStdin: true, AttachStdout: true });
  const stream = await exec.start({ hijack: true, stdin: true });
  const all = outputs(stream);
  stream.end('through');
  assert.equal((await all)[0], 'through');
  assert.equal((await exec.inspect()).Running, false);
  await assert.rejects(container.exec({ Cmd: [] }), { statusCode: 400 });
});

test('logs that are followed', async () => {
  const container = await start({ Cmd: ['sh', '-c', 'for n in 1 2 3; do echo $n; sleep 0.3; done'] });
  const stream = await container.logs({ follow: true, stdout: true, stderr: true, timestamps: false });
  assert.deepEqual(await outputs(stream), ['1\n2\n3\n', '']);
  const tail = await container.logs({ stdout: true, tail: 1 });
  assert.equal(tail.subarray(8).toString(), '3\n');
});

test('stats', async () => {
  const container = await start({ HostConfig: { Memory: 64 << 20 } });
  const once = await container.stats({ stream: false });
  assert.equal(once.memory_stats.limit, 64 << 20);
  const stream = await container.stats({ stream: true });
  const sample = await first(stream, (value) => value.precpu_stats?.system_cpu_usage > 0);
  assert.ok(sample.cpu_stats.cpu_usage.total_usage >= sample.precpu_stats.cpu_usage.total_usage);
  stream.destroy();
});

test('events', async () => {
  const stream = await docker.getEvents({ filters: { type: ['container'], event: ['die'] } });
  const container = await start({ Cmd: ['sh', '-c', 'exit 5'], name: 'ending' });
  const event = await first(stream, () => true);
  assert.deepEqual([event.Action, event.Actor.ID, event.Actor.Attributes.name, event.Actor.Attributes.exitCode], ['die', container.id, 'ending', '5']);
  stream.destroy();
});

test('archives', async () => {
  const container = await start();
  const pack = tar.pack();
  pack.entry({ name: 'folder/file', mode: 0o640 }, 'content');
  pack.finalize();
  await container.putArchive(pack, { path: '/tmp' });
  assert.equal((await run(container, ['cat', '/tmp/folder/file'])).out, 'content');
  const names = [];
  const extract = tar.extract().on('entry', (header, entry, next) => { names.push(header.name); entry.on('end', next).resume(); });
  await pipeline(await container.getArchive({ path: '/tmp/folder' }), extract);
  assert.deepEqual(names, ['folder/', 'folder/file']);
  const head = await container.infoArchive({ path: '/tmp/folder/file' });
  head.resume(); // an answer that nobody reads keeps its connection, and node
  const info = JSON.parse(Buffer.from(head.headers['x-docker-container-path-stat'], 'base64'));
  assert.deepEqual([info.name, info.size], ['file', 7]);
  await assert.rejects(container.getArchive({ path: '/nowhere' }), { statusCode: 404 });
});

test('what a container is told while it runs', async () => {
  const container = await start({ name: 'told' });
  await container.pause();
  assert.equal((await container.inspect()).State.Status, 'paused');
  await container.unpause();
  await container.update({ Memory: 96 << 20, MemorySwap: 96 << 20 });
  assert.equal((await container.inspect()).HostConfig.Memory, 96 << 20);
  await container.rename({ name: 'renamed' });
  assert.equal((await container.inspect()).Name, '/renamed');
  assert.deepEqual((await container.top({ ps_args: '-o pid,args' })).Processes.map((each) => each[1]), ['sleep 1000']);
  assert.equal((await run(container, ['touch', '/new'])).code, 0);
  assert.ok((await container.changes()).some((each) => each.Path === '/new' && each.Kind === 1));
  await container.restart({ t: 0 });
  assert.equal((await run(container, ['ls', '/new'])).out, '/new\n');
  await container.kill({ signal: 'KILL' });
  assert.equal((await container.wait()).StatusCode, 137);
  await assert.rejects(container.kill(), { statusCode: 409 });
  await container.start();
  await container.stop({ t: 0 });
  await assert.rejects(container.stop(), { statusCode: 304 });
});

test('images: commit, history, tag, save, load, remove', async () => {
  const container = await start({ Cmd: ['touch', '/made'] });
  await container.wait();
  const { Id } = await container.commit({ repo: 'committed', tag: '1', comment: 'made', changes: 'CMD ["ls", "/made"]' });
  const image = docker.getImage('committed:1');
  assert.equal((await image.inspect()).Id, Id);
  assert.equal((await image.history())[0].Comment, 'made');
  await image.tag({ repo: 'again', tag: '2' });
  const archive = await text(await image.get().then((stream) => stream.setEncoding('latin1')));
  await image.remove();
  await docker.getImage('again:2').remove();
  await assert.rejects(image.inspect(), { statusCode: 404 });
  await followed(await docker.loadImage(Readable.from([Buffer.from(archive, 'latin1')])));
  const [result] = await docker.run('committed:1', [], new PassThrough().resume());
  assert.equal(result.StatusCode, 0);
  await docker.getImage('committed:1').remove({ force: true });
});

test('push to and pull from a registry', async () => {
  const name = `${process.env.GRUA_REGISTRY}/team/app`;
  await docker.getImage(IMAGE).tag({ repo: name, tag: '1' });
  const image = docker.getImage(`${name}:1`);
  const pushed = await followed(await image.push({ tag: '1' }));
  const { Digest } = pushed.find((each) => each.aux).aux;
  await image.remove();
  const pulled = await followed(await docker.pull(`${name}:1`));
  assert.ok(pulled.some((each) => each.status?.includes(Digest)));
  assert.ok((await image.inspect()).RepoDigests.includes(`${name}@${Digest}`));
  assert.match((await image.distribution()).Descriptor.digest, /^sha256:/);
  await assert.rejects(docker.pull(`${name}:none`), { statusCode: 404 });
  await image.remove();
});

test('a build of files, as most users write it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'grua-ode-'));
  writeFileSync(join(folder, 'Dockerfile'), 'FROM busybox AS wanted\nARG WORD\nRUN echo $WORD > /word && echo told\nCOPY a.txt /\nFROM wanted\nRUN false\n');
  writeFileSync(join(folder, 'a.txt'), 'kept');
  const build = (options) => docker.buildImage({ context: folder, src: ['Dockerfile', 'a.txt'] }, { t: 'ode:built', target: 'wanted', buildargs: { WORD: 'said' }, ...options });
  const lines = await followed(await build({ labels: { suite: 'dockerode' } }));
  assert.match(lines.map((each) => each.stream ?? '').join(''), /^Step 1\/5 : FROM busybox AS wanted\n[^]*told\n[^]*Successfully tagged ode:built\n$/);
  const [output] = await docker.run('ode:built', ['cat', '/word', '/a.txt'], new PassThrough(), { Tty: false, HostConfig: { AutoRemove: true } });
  assert.equal(output.StatusCode, 0);
  const info = await docker.getImage('ode:built').inspect();
  assert.equal(info.Config.Labels.suite, 'dockerode');
  assert.equal(lines.find((each) => each.aux).aux.ID, info.Id);
  assert.match((await followed(await build({ labels: { suite: 'dockerode' } }))).map((each) => each.stream ?? '').join(''), /Using cache/);
  assert.match((await followed(await build({ nocache: true, q: true, networkmode: 'none', memory: 256 << 20 }))).at(-1).stream, /^sha256:[0-9a-f]{64}\n$/);
  await docker.getImage('ode:built').remove();
});

test('a build of a stream that fails', async () => {
  const pack = tar.pack();
  pack.entry({ name: 'Dockerfile' }, 'FROM busybox\nRUN exit 3\n');
  pack.finalize();
  const last = (await followed(await docker.buildImage(pack))).at(-1);
  assert.match(last.error, /returned a non-zero code: 3/);
  assert.equal(last.errorDetail.code, 3);
  const wrong = tar.pack();
  wrong.entry({ name: 'Dockerfile' }, 'NOTHING\n');
  wrong.finalize();
  await assert.rejects(docker.buildImage(wrong).then(followed), { statusCode: 400, message: /unknown instruction: NOTHING/ });
});

test('a build by BuildKit, with a session', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'grua-ode-'));
  writeFileSync(join(folder, 'Dockerfile'), 'FROM busybox\nRUN --mount=type=cache,target=/c echo told-by-it > /x && cat /x\n');
  const stream = await docker.buildImage({ context: folder, src: ['Dockerfile'] }, { t: 'ode:kit', version: '2', nocache: true });
  const told = await new Promise((resolve, reject) => docker.followProgress(stream, (error, all) => (error ? reject(error) : resolve(all))));
  assert.match(JSON.stringify(told), /RUN --mount=type=cache/);
  assert.ok(await docker.getImage('ode:kit').inspect());
  await docker.getImage('ode:kit').remove();
  assert.ok((await docker.pruneBuilder()).SpaceReclaimed >= 0);
});

test('networks', async () => {
  const network = await docker.createNetwork({ Name: 'ode', Labels: { suite: 'dockerode' }, IPAM: { Config: [{ Subnet: '10.98.1.0/24' }] } });
  const server = await start({ name: 'server', Cmd: ['sh', '-c', 'echo hello > /index.html; exec httpd -f -h / -p 80'], HostConfig: { NetworkMode: 'ode' } });
  const asker = await start();
  await network.connect({ Container: asker.id, EndpointConfig: { Aliases: ['asker'], IPAMConfig: { IPv4Address: '10.98.1.77' } } });
  assert.equal((await run(asker, ['wget', '-qO-', 'http://server/'])).out, 'hello\n');
  const inside = (await network.inspect()).Containers;
  assert.equal(inside[asker.id].IPv4Address, '10.98.1.77/24');
  await network.disconnect({ Container: asker.id, Force: true });
  assert.deepEqual(Object.keys((await network.inspect()).Containers), [server.id]);
  await assert.rejects(network.remove(), { statusCode: 403 });
  await server.remove({ force: true });
  assert.deepEqual((await docker.listNetworks({ filters: { label: ['suite=dockerode'] } })).map((each) => each.Name), ['ode']);
  await network.remove();
  assert.equal((await docker.pruneNetworks({ filters: { label: ['suite=dockerode'] } })).NetworksDeleted, null);
});

test('volumes', async () => {
  const volume = await docker.createVolume({ Name: 'kept', Labels: { suite: 'dockerode' } });
  const write = await start({ Cmd: ['sh', '-c', 'echo kept > /data/file'], HostConfig: { Binds: ['kept:/data'] } });
  await write.wait();
  await assert.rejects(docker.getVolume('kept').remove(), { statusCode: 409 });
  await write.remove();
  const read = await start({ HostConfig: { Mounts: [{ Type: 'volume', Source: 'kept', Target: '/data', ReadOnly: true }] } });
  assert.equal((await run(read, ['cat', '/data/file'])).out, 'kept\n');
  assert.notEqual((await run(read, ['touch', '/data/new'])).code, 0);
  await read.remove({ force: true });
  assert.deepEqual((await docker.listVolumes({ filters: { label: ['suite=dockerode'] } })).Volumes.map((each) => each.Name), ['kept']);
  await docker.getVolume('kept').remove();
  await assert.rejects(docker.getVolume('kept').inspect(), { statusCode: 404 });
});

test('a request that is called off', async () => {
  const container = await start();
  const off = new AbortController();
  const wait = container.wait({ abortSignal: off.signal });
  off.abort();
  await assert.rejects(wait, { code: 'ABORT_ERR' });
  assert.equal((await container.inspect()).State.Running, true);
});

test('errors have Docker\'s statuses', async () => {
  await assert.rejects(docker.createContainer({ Image: 'nothing:here' }), { statusCode: 404, message: /No such image: nothing:here/ });
  await start({ name: 'taken' });
  await assert.rejects(docker.createContainer({ Image: IMAGE, name: 'taken' }), { statusCode: 409, message: /Conflict\. The container name "\/taken" is already in use/ });
  await assert.rejects(docker.createContainer({ Image: IMAGE, HostConfig: { Memory: 1 } }), { statusCode: 400 });
  const bad = await create({ Cmd: ['/no/such/program'] });
  await assert.rejects(bad.start(), { statusCode: 400, message: /no such file or directory/ });
});

test('two hundred at once', async () => {
  const lists = await Promise.all(Array.from({ length: 200 }, () => docker.listContainers({ all: true })));
  assert.equal(lists.length, 200);
});
