// Command analyzer judges stored flows, raises alerts and serves the console.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func main() {
	s := service.Service[analyzer.Config]{
		Name:    "analyzer",
		Short:   "Judge stored flows, raise and deliver alerts, and serve the console",
		Default: analyzer.DefaultConfig,
		Check:   analyzer.Config.Check,
		Run:     analyzer.Run,
	}
	s.Commands = []*cobra.Command{hashPasswordCommand(), queryCommand(s), importCommand(), backtestCommand(s), exclusionCommand(s), ruleCommand(), modelCommand(s), reportCommand(s), respondCommand(s), retroCommand(s)}
	os.Exit(service.Main(s.Command()))
}
