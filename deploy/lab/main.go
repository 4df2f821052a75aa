// Command lab writes a capture of an office's traffic of which everything is
// known: capture.pcap, and truth.json with what was planted in it.
//
//	go run ./lab -seed 1 -scenario all -out DIR
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/deploy/lab/scene"
)

// options are the flags.
type options struct {
	seed     uint64
	scenario string
	hosts    int
	days     int
	visits   int
	backup   int64
	start    string
	out      string
}

func main() {
	var o options
	flag.Uint64Var(&o.seed, "seed", 1, "the same seed makes the same octets")
	flag.StringVar(&o.scenario, "scenario", "all", "all, none, beacons, evasion, demo, or names with commas between: "+strings.Join(names(), " "))
	flag.IntVar(&o.hosts, "hosts", 20, "workstations, 1 to 200")
	flag.IntVar(&o.days, "days", 1, "days of ordinary work; what is planted comes on the last of them")
	flag.IntVar(&o.visits, "visits", 120, "connections of a workstation on a working day")
	flag.Int64Var(&o.backup, "backup", 5_000_000_000, "octets of the nightly backup")
	flag.StringVar(&o.start, "start", "2026-06-01", "first day")
	flag.StringVar(&o.out, "out", "", "folder for capture.pcap, truth.json and networks.csv")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func names() []string {
	var list []string
	for _, s := range scene.Scenarios() {
		list = append(list, s.Name)
	}
	return list
}

func run(o options) error {
	if o.out == "" {
		return errors.New("make capture: a folder is needed: -out DIR")
	}
	first, err := time.Parse(time.DateOnly, o.start)
	if err != nil {
		return fmt.Errorf("make capture: first day: %w", err)
	}
	if o.days < 1 || o.hosts < 1 || o.hosts > 200 {
		return errors.New("make capture: at least a day, and 1 to 200 hosts, are needed")
	}
	w := scene.New(o.seed, o.hosts)
	work := scene.DefaultOffice()
	work.Days, work.Visits, work.Backup = o.days, o.visits, o.backup
	if o.scenario != "demo" {
		w.Work(first, work)
	}
	last := first.AddDate(0, 0, o.days-1)
	switch o.scenario {
	case "none":
	case "demo":
		w.Demo(last)
	case "all":
		err = w.Plant(last)
	case "beacons":
		w.Beacons(last, []float64{0, 0.2, 0.37, 0.5, 0.9}, 21)
	case "evasion":
		w.Evasion(last)
	default:
		err = w.Plant(last, strings.Split(o.scenario, ",")...)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return fmt.Errorf("make capture: %w", err)
	}
	for file, write := range map[string]func(io.Writer) error{
		"capture.pcap": w.Capture, "truth.json": w.WriteTruth,
		"networks.csv": func(out io.Writer) error {
			_, err := io.WriteString(out, "network,name,role,site\n"+scene.Networks(""))
			return err
		},
	} {
		if err := create(filepath.Join(o.out, file), write); err != nil {
			return err
		}
	}
	fmt.Printf("%d packets, %d things planted, in %s\n", w.Packets(), len(w.Truths()), o.out)
	return nil
}

func create(path string, write func(io.Writer) error) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make capture: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return write(f)
}
