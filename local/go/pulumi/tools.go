//go:build tools

// Package tools pins what modelramp builds where no release of pulumi can be had.
package tools

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
