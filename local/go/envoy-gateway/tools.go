//go:build tools

// Package tools pins what modelramp builds where no release of envoy-gateway can be had.
package tools

import _ "github.com/envoyproxy/gateway/cmd/envoy-gateway"
