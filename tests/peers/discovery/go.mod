module peers

go 1.22

require github.com/arduino/pluggable-discovery-protocol-handler/v2 v2.2.1

require (
	github.com/arduino/go-paths-helper v1.10.0 // indirect
	github.com/arduino/go-properties-orderedmap v1.8.0 // indirect
	github.com/pkg/errors v0.9.1 // indirect
)
