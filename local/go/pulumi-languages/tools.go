//go:build tools

// Package tools pins the languages of Pulumi that modelramp builds where no release can be had.
package tools

import _ "github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml"
