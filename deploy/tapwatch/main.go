// Command tapwatch is the all-in-one: embedded Kafka and ClickHouse and the
// three ordinary services in one process, on one machine, without containers.
// `tapwatch up` runs it, `tapwatch read` sends one capture through it.
package main

import (
	"os"

	"github.com/tapwatch/tapwatch/proto/kit/service"
	"github.com/tapwatch/tapwatch/proto/local"
)

func main() {
	local.RunChildIfAsked()
	root := service.Service[struct{}]{Name: "tapwatch", Short: "See, keep and judge network traffic: the whole Tapwatch chain on one machine",
		Default: func() struct{} { return struct{}{} }}.Command()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "version" {
			root.RemoveCommand(cmd) // up has its own configuration
		}
	}
	root.AddCommand(upCommand(), readCommand(), importCommand())
	os.Exit(service.Main(root))
}
