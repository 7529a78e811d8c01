//go:build tools

// Package tools pins what modelramp builds where no release of versitygw can be had.
package tools

import _ "github.com/versity/versitygw/cmd/versitygw"
