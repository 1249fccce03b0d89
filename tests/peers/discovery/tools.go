//go:build tools

// Says which foreign program is built of the module that go.mod and go.sum pin.
package peers

import _ "github.com/arduino/pluggable-discovery-protocol-handler/v2/dummy-discovery"
