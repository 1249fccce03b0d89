// Starts lwm2m-node-lib's server and takes one JSON command per line on standard input; every answer and every event is one
// JSON line on standard output. Run from the folder that holds its node_modules:   node lwm2m-node-server.js PORT
//
//   {"id":1,"op":"read","ep":"x","path":"/3/0/0"}            -> {"id":1,"value":"..."} or {"id":1,"error":"..."}
//   ops: list, read, write (value), execute (value), discover, attributes (value: {"pmin":1}), observe, cancel
//   events: {"event":"ready"}, {"event":"registration","ep":...}, {"event":"unregistration"}, {"event":"value","path":...,"value":...}
'use strict';

const path = require('path');
const modules = path.join(process.cwd(), 'node_modules');
const { server } = require(path.join(modules, 'lwm2m-node-lib'));
const config = require(path.join(modules, 'lwm2m-node-lib/config'));

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');

function act(command, device, done) {
  const [type, instance, resource] = (command.path || '').split('/').filter(Boolean);
  switch (command.op) {
    case 'read':
      return server.read(device.id, type, instance, resource, done);
    case 'write':
      return server.write(device.id, type, instance, resource, command.value, done);
    case 'execute':
      return server.execute(device.id, type, instance, resource, command.value || '0', done);
    case 'attributes':
      return server.writeAttributes(device.id, type, instance, resource, command.value, done);
    case 'discover':
      return server.discover(...[device.id, type, instance, resource].filter((part) => part !== undefined), done);
    case 'observe':
      return server.observe(device.id, type, instance, resource, (value) => say({ event: 'value', path: command.path, value }), done);
    case 'cancel':
      return server.cancelObserver(device.id, type, instance, resource, done);
    default:
      return done(new Error('no such op: ' + command.op));
  }
}

function handle(command) {
  const done = (error, value) =>
    say(error ? { id: command.id, error: String(error.message || error.name || error) } : { id: command.id, value: value === undefined ? null : value });
  server.listDevices((error, devices) => {
    if (error || command.op === 'list') return done(error, devices);
    const device = devices.find((one) => one.name === command.ep);
    return device ? act(command, device, done) : done(new Error('not registered: ' + command.ep));
  });
}

server.start({ ...config.server, port: Number(process.argv[2]) }, (error, info) => {
  if (error) throw error;
  server.setHandler(info, 'registration', (ep, lifetime, version, binding, links, done) => {
    say({ event: 'registration', ep, lifetime, version, binding, links });
    done();
  });
  server.setHandler(info, 'unregistration', (device, done) => {
    say({ event: 'unregistration', ep: device && device.name });
    done();
  });
  server.setHandler(info, 'updateRegistration', (device, payload, done) => {
    say({ event: 'update', ep: device && device.name });
    done();
  });
  say({ event: 'ready' });
  let text = '';
  process.stdin.on('data', (part) => {
    const lines = (text + part).split('\n');
    text = lines.pop();
    lines.filter(Boolean).forEach((line) => handle(JSON.parse(line)));
  });
  process.stdin.on('end', () => process.exit(0));
});
