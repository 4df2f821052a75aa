//go:build !linux

package main

import (
	"context"
	"fmt"
	"io"
)

func live(_ context.Context, _ options, out io.Writer) error {
	fmt.Fprint(out, "\nLive: not measured, it needs Linux.\n")
	return nil
}
