// Command record makes the demo's captures. It runs real clients and servers, and real attacks, in network
// namespaces that are joined to each other and to nothing else, records what crosses their bridge, and then
// places the recorded connections on a calendar of four weeks.
//
//	record lab -raw DIR               as root: record the raw captures (about two minutes)
//	record build -raw DIR -out DIR    without root: make captures/*.pcap.gz and labels.tsv, same input same output
//
// In: nothing but the programs named in README.md. Out: pcap files. Packets are owned by the slice that holds them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: record lab -raw DIR | record build -raw DIR -out DIR")

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	set := flag.NewFlagSet("record "+args[0], flag.ContinueOnError)
	raw := set.String("raw", "", "folder of the raw captures")
	out := set.String("out", "", "folder of the finished captures")
	keys := set.String("keys", "", "folder of the lab's CA (set by lab)")
	if err := set.Parse(args[1:]); err != nil {
		return errUsage
	}
	switch args[0] {
	case "lab":
		if *raw == "" {
			return errUsage
		}
		// The whole lab is bounded in time, whatever hangs.
		ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
		return recordLab(ctx, *raw)
	case "build":
		if *raw == "" || *out == "" {
			return errUsage
		}
		return build(*raw, *out)
	}
	// The rest is what lab starts inside its namespaces.
	role, ok := roles[args[0]]
	if !ok {
		return errUsage
	}
	return role(ctx, *keys)
}

// roles are the programs that run inside the namespaces. keys is the folder of the CA.
var roles = map[string]func(ctx context.Context, keys string) error{
	"serve-outside": serveOutside,
	"serve-inside":  serveInside,
	"serve-backup":  serveBackup,
	"victim":        serveVictim,
	"zoo":           clientZoo,
	"office":        clientOffice,
	"beacon":        clientBeacon,
	"flood":         flood,
	"trunk":         trunk,
}
