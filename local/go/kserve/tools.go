//go:build tools

// Package tools pins what modelramp builds where no release of kserve can be had.
package tools

import _ "github.com/kserve/kserve/cmd/manager"
