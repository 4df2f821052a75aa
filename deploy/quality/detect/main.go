// Command detect measures the analysis on recorded and generated traffic, and
// prints the figures.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/tapwatch/tapwatch/deploy/quality"
	"github.com/tapwatch/tapwatch/proto/local"
)

func main() {
	local.RunChildIfAsked()
	o := quality.DefaultOptions()
	flag.StringVar(&o.Captures, "captures", o.Captures, "folder of the shared captures")
	flag.StringVar(&o.Only, "only", "", "cases whose name holds this")
	seeds := flag.Int("seeds", len(o.Made.Seeds), "seeds of generated traffic, from 1 on")
	flag.IntVar(&o.Made.Days, "days", o.Made.Days, "days of generated traffic")
	flag.IntVar(&o.Made.Hosts, "hosts", o.Made.Hosts, "workstations in it")
	flag.Parse()
	o.Made.Seeds = nil
	for n := range *seeds {
		o.Made.Seeds = append(o.Made.Seeds, uint64(n+1))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := quality.Measure(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
