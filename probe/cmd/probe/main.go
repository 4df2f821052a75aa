// Command probe captures packets and publishes flow records; its subcommands
// look into captures without Kafka.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func main() {
	os.Exit(service.Main(service.Service[probe.Config]{
		Name:         "probe",
		Short:        "Turn packets of interfaces or captures into flow records and publish them to Kafka",
		Default:      probe.DefaultConfig,
		Check:        probe.Config.Check,
		RunReloading: probe.RunReloading,
		Commands:     []*cobra.Command{flowsCommand(), packetsCommand()},
	}.Command()))
}
