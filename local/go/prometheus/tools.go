//go:build tools

// Package tools pins what modelramp builds where no release of prometheus can be had.
package tools

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
