// A LwM2M 1.1 client out of Leshan's library, with objects 3 and 5: a device that we did not write, for a server that we did.
//
//   java -cp 'DIR:DIR/*' FirmwareClient PORT ENDPOINT
//
// It fetches what 5/0/1 names, tells each step as a line, and "runs" an image by telling its first line as the version.

import java.io.InputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

import org.eclipse.leshan.client.LeshanClient;
import org.eclipse.leshan.client.LeshanClientBuilder;
import org.eclipse.leshan.client.californium.endpoint.CaliforniumClientEndpointsProvider;
import org.eclipse.leshan.client.californium.endpoint.coap.CoapClientProtocolProvider;
import org.eclipse.leshan.client.object.Security;
import org.eclipse.leshan.client.object.Server;
import org.eclipse.leshan.client.resource.BaseInstanceEnabler;
import org.eclipse.leshan.client.resource.ObjectsInitializer;
import org.eclipse.leshan.client.servers.LwM2mServer;
import org.eclipse.leshan.core.model.ObjectModel;
import org.eclipse.leshan.core.node.LwM2mResource;
import org.eclipse.leshan.core.request.argument.Arguments;
import org.eclipse.leshan.core.response.ExecuteResponse;
import org.eclipse.leshan.core.response.ReadResponse;
import org.eclipse.leshan.core.response.WriteResponse;

public class FirmwareClient {
    static volatile String version = "0.9.0";
    static volatile Device device;

    public static void main(String[] args) throws Exception {
        ObjectsInitializer objects = new ObjectsInitializer();
        objects.setInstancesForObject(0, Security.noSec("coap://127.0.0.1:" + args[0], 77));
        objects.setInstancesForObject(1, new Server(77, 60));
        device = new Device();
        objects.setInstancesForObject(3, device);
        objects.setInstancesForObject(5, new Firmware());
        CoapClientProtocolProvider coap = new CoapClientProtocolProvider();
        LeshanClient client = new LeshanClientBuilder(args[1]).setObjects(objects.createAll())
                .setEndpointsProviders(new CaliforniumClientEndpointsProvider.Builder(coap).build()).build();
        client.start();
        say("started");
        // Its input ends when whoever started it has seen enough.
        while (System.in.read() >= 0) {
        }
        client.stop(true);
        say("stopped");
        System.exit(0);
    }

    static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    public static class Device extends BaseInstanceEnabler {
        @Override
        public ReadResponse read(LwM2mServer server, int resource) {
            switch (resource) {
                case 0: return ReadResponse.success(0, "Eclipse Leshan");
                case 1: return ReadResponse.success(1, "a client of others");
                case 3: return ReadResponse.success(3, version);
                case 16: return ReadResponse.success(16, "U");
                default: return ReadResponse.notFound();
            }
        }

        @Override
        public ExecuteResponse execute(LwM2mServer server, int resource, Arguments arguments) {
            say("reboot");
            return ExecuteResponse.success();
        }

        @Override
        public List<Integer> getAvailableResourceIds(ObjectModel model) {
            return List.of(0, 1, 3, 4, 16);
        }
    }

    public static class Firmware extends BaseInstanceEnabler {
        private final ExecutorService worker = Executors.newSingleThreadExecutor();
        private volatile String uri = "";
        private volatile long state = 0;
        private volatile long result = 0;
        private volatile byte[] image = {};

        private void is(long state, long result) {
            this.state = state;
            this.result = result;
            say("state " + state + " result " + result);
            fireResourcesChange(getResourcePaths(3, 5));
        }

        @Override
        public ReadResponse read(LwM2mServer server, int resource) {
            switch (resource) {
                case 1: return ReadResponse.success(1, uri);
                case 3: return ReadResponse.success(3, state);
                case 5: return ReadResponse.success(5, result);
                case 9: return ReadResponse.success(9, 2L);
                default: return ReadResponse.methodNotAllowed();
            }
        }

        @Override
        public WriteResponse write(LwM2mServer server, boolean replace, int resource, LwM2mResource value) {
            if (resource == 0) {
                image = (byte[]) value.getValue();
                say("pushed " + image.length + " bytes");
                is(2, 0);
                return WriteResponse.success();
            }
            if (resource != 1) return WriteResponse.methodNotAllowed();
            uri = (String) value.getValue();
            if (uri.isEmpty()) {
                is(0, 0);
                return WriteResponse.success();
            }
            worker.submit(this::fetch);
            return WriteResponse.success();
        }

        private void fetch() {
            is(1, 0);
            try (InputStream in = new URI(uri.replaceAll("#.*", "")).toURL().openStream()) {
                image = in.readAllBytes();
                byte[] digest = MessageDigest.getInstance("SHA-256").digest(image);
                say("fetched " + image.length + " bytes, SHA-256 " + HexFormat.of().formatHex(digest));
                is(2, 0);
            } catch (Exception failed) {
                say("not fetched: " + failed);
                is(0, 4);
            }
        }

        @Override
        public ExecuteResponse execute(LwM2mServer server, int resource, Arguments arguments) {
            if (resource != 2 || state != 2) return ExecuteResponse.methodNotAllowed();
            worker.submit(() -> {
                is(3, 0);
                String text = new String(image, StandardCharsets.UTF_8);
                if (text.startsWith("bad")) {
                    is(2, 8);
                    return;
                }
                version = text.lines().findFirst().orElse("");
                device.fireResourceChange(3);
                is(0, 1);
            });
            return ExecuteResponse.success();
        }

        @Override
        public List<Integer> getAvailableResourceIds(ObjectModel model) {
            return List.of(0, 1, 2, 3, 5, 9);
        }
    }
}
