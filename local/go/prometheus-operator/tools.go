//go:build tools

// Package tools pins what modelramp builds where no release of prometheus-operator can be had.
package tools

import (
	_ "github.com/prometheus-operator/prometheus-operator/cmd/operator"
	_ "github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader"
)
