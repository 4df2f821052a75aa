// Command probe captures packets and publishes flow records; its subcommands
// look into captures without Kafka.
package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func main() {
	os.Exit(service.Main(service.Service[probe.Config]{
		Name:         "probe",
		Short:        "Turn packets of interfaces or captures into flow records and publish them to Kafka",
		Default:      defaultConfig,
		File:         keepReadable,
		Check:        probe.Config.Check,
		RunReloading: run,
		Commands:     []*cobra.Command{flowsCommand(), packetsCommand(), fetchCommand(), tokenCommand(), revealCommand(), identityCommand()},
	}.Command()))
}

// run is the service. Memory is collected in time to stay near what the
// configuration allows; GOMEMLIMIT in the environment has precedence.
func run(ctx context.Context, cfg probe.Config, reloads <-chan probe.Config) error {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(cfg.Memory())
	}
	return probe.RunReloading(ctx, cfg, reloads)
}

// defaultConfig is that of a process of its own, which may give its privileges up.
func defaultConfig() probe.Config {
	cfg := probe.DefaultConfig()
	cfg.Confine.Enabled = true
	return cfg
}

// keepReadable lets a confined probe read its configuration again.
func keepReadable(cfg *probe.Config, path string) {
	cfg.Confine.Read = append(cfg.Confine.Read, filepath.Dir(path))
}
