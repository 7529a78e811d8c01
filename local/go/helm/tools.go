//go:build tools

// Package tools pins what modelramp builds where no release of helm can be had.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
