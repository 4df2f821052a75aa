// Command collector takes flow batches from Kafka and stores them in ClickHouse.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func main() {
	s := service.Service[collector.Config]{
		Name:    "collector",
		Short:   "Take flow batches from Kafka and store them in ClickHouse, exactly once",
		Default: collector.DefaultConfig,
		Check:   collector.Check,
		Run:     collector.Run,
	}
	s.Commands = []*cobra.Command{migrate(s), replay(s), storage(s), hold(s), erase(s), backup(s), restore(s), enriching(s)}
	os.Exit(service.Main(s.Command()))
}
