// Registers a device of lwm2m-node-lib's client library (LwM2M 1.0) at a server on loopback and takes a line of JSON for each
// change. Run from the folder that holds its node_modules:   node lwm2m-node-client.js PORT ENDPOINT
//
//   {"object":"/5/0","resource":"3","value":"1"}      its observers are told
//   {"unregister":true}
//   events: {"event":"registered","location":...}, {"event":"written","path":...,"value":...}, {"event":"executed","path":...},
//   {"event":"unregistered"}
'use strict';

const path = require('path');
const modules = path.join(process.cwd(), 'node_modules');
const { client } = require(path.join(modules, 'lwm2m-node-lib'));
const config = require(path.join(modules, 'lwm2m-node-lib/config'));

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');
const objects = {
  '/3/0': { 0: 'Telefonica', 1: 'lwm2m-node-lib', 3: '1.4.0' },
  '/5/0': { 1: 'none', 3: '0', 5: '0' },
};

config.client.logLevel = 'FATAL';
client.init(config);

const set = (object, resource, value) =>
  new Promise((done, failed) => client.registry.setResource(object, resource, value, (error) => (error ? failed(error) : done())));
const create = (object) =>
  new Promise((done, failed) => client.registry.create(object, (error) => (error ? failed(error) : done())));

async function main() {
  for (const [object, resources] of Object.entries(objects)) {
    await create(object);
    for (const [resource, value] of Object.entries(resources)) await set(object, resource, value);
  }
  client.register('127.0.0.1', process.argv[2], '', process.argv[3], (error, device) => {
    if (error) throw error;
    const handler = (event) => (type, instance, resource, value, done) => {
      say({ event, path: `/${type}/${instance}/${resource}`, value });
      done(null);
    };
    client.setHandler(device.serverInfo, 'write', handler('written'));
    client.setHandler(device.serverInfo, 'execute', handler('executed'));
    say({ event: 'registered', location: device.location });
    require('readline').createInterface({ input: process.stdin }).on('line', async (line) => {
      const order = JSON.parse(line);
      if (!order.unregister) return set(order.object, order.resource, order.value);
      client.unregister(device, (failed) => {
        if (failed) throw failed;
        say({ event: 'unregistered' });
      });
    });
  });
}

main();
