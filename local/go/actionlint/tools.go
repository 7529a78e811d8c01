//go:build tools

// Package tools pins what modelramp builds where no release of actionlint can be had.
package tools

import _ "github.com/rhysd/actionlint/cmd/actionlint"
