package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/analyzer"
	file "github.com/tapwatch/tapwatch/analyzer/baseline/model"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/model"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

// modelFlows says which flows a model learns of, or is tried on, as flags have it.
type modelFlows struct {
	trial         // --last, --from, --to
	input, labels string
	source        model.Source
}

func (m *modelFlows) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&m.last, "last", "7d", "length of the range, up to the end of the stored traffic, or all")
	f.StringVar(&m.from, "from", "", "begin of the range, in place of --last")
	f.StringVar(&m.to, "to", "", "end of the range")
	f.StringVar(&m.input, "input", "", "read flows from a file, an object a line as `probe flows` writes them, not from the database; - is standard input")
	f.StringVar(&m.source.Label, "label", model.LabelApp, "what is told apart: app, service, malicious (confirmed incidents), or file (--labels)")
	f.StringVar(&m.labels, "labels", "", "CSV of key,class; a key is a community id, an address or a server name")
	f.IntVar(&m.source.Limit, "limit", 200000, "flows to read at most, chosen by the seed")
	f.Uint64Var(&m.source.Seed, "seed", 1, "what is drawn follows from it")
}

// read returns the flows and their range.
func (m *modelFlows) read(ctx context.Context, load func() (analyzer.Config, error)) (list []model.Labelled, span detect.Window, err error) {
	if m.labels != "" {
		f, err := os.Open(m.labels)
		if err != nil {
			return nil, span, service.Usage(err)
		}
		defer f.Close()
		if m.source.Labels, err = model.ReadLabels(f); err != nil {
			return nil, span, service.Usage(fmt.Errorf("%s: %w", m.labels, err))
		}
		m.source.Label = model.LabelFile
	}
	switch m.source.Label {
	case model.LabelApp, model.LabelService, model.LabelMalicious, model.LabelNone:
	case model.LabelFile:
		if m.labels == "" {
			return nil, span, service.Usage(fmt.Errorf("label file: give --labels"))
		}
	default:
		return nil, span, service.Usage(fmt.Errorf("label %q: none of app, service, malicious and file", m.source.Label))
	}
	if m.source.Limit < 1 || m.source.Limit > 2_000_000 {
		return nil, span, service.Usage(fmt.Errorf("limit %d: not from 1 to 2000000", m.source.Limit))
	}
	if m.input != "" {
		if m.source.Label == model.LabelMalicious {
			return nil, span, service.Usage(fmt.Errorf("input: confirmed incidents are in the database; give --labels"))
		}
		r := io.Reader(os.Stdin)
		if m.input != "-" {
			f, err := os.Open(m.input)
			if err != nil {
				return nil, span, service.Usage(err)
			}
			defer f.Close()
			r = f
		}
		list, err = m.source.ReadLines(r)
		return list, span, err
	}
	cfg, err := load()
	if err != nil {
		return nil, span, err
	}
	conn, err := cfg.ClickHouse.Open()
	if err != nil {
		return nil, span, err
	}
	defer conn.Close()
	from, to, err := m.span(ctx, conn)
	if err != nil {
		return nil, span, cfg.ClickHouse.Classify(err)
	}
	span = detect.Window{Start: from, End: to}
	list, err = m.source.Read(ctx, conn, span)
	return list, span, cfg.ClickHouse.Classify(err)
}

func modelCommand(s service.Service[analyzer.Config]) *cobra.Command {
	cmd := &cobra.Command{Use: "model", Short: "Train, look at and try models that tell flows apart by their shape"}
	cmd.AddCommand(modelTrainCommand(s), modelShowCommand(), modelEvaluateCommand(s), modelClassifyCommand(s))
	return cmd
}

func modelTrainCommand(s service.Service[analyzer.Config]) *cobra.Command {
	var m modelFlows
	c := model.DefaultConfig()
	cmd := &cobra.Command{
		Use:   "train FILE",
		Short: "Learn from flows whose class is known, and write a model",
		Long: `Learn from flows whose class is known, and write a model with its evaluation on hosts that were
held back. The same flows and seed make the same file.

  model train apps.json --last 30d
  model train bad.json --label malicious --last 90d
  probe flows -r DIR | analyzer model train apps.json --input -

analyzer/model/README.md tells what it learns from, and how well it does.`,
		Args: cobra.ExactArgs(1),
	}
	m.flags(cmd)
	f := cmd.Flags()
	f.IntVar(&c.Trees, "trees", c.Trees, "trees of the forest, 1 to 1000")
	f.Float64Var(&c.Reject, "reject", c.Reject, "confidence below which the answer is unknown, 0 to 1")
	f.Float64Var(&c.Held, "held", c.Held, "share of the hosts that are held back for the evaluation, 0 to 0.9")
	f.IntVar(&c.MinFlows, "min-flows", c.MinFlows, "flows of a class, else it is left out")
	f.IntVar(&c.MinHosts, "min-hosts", c.MinHosts, "hosts of a class, else it is left out")
	s.Flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if c.Trees < 1 || c.Trees > 1000 || !(c.Reject >= 0 && c.Reject <= 1) || !(c.Held >= 0 && c.Held <= 0.9) {
			return service.Usage(fmt.Errorf("trees %d, reject %v, held %v: out of range", c.Trees, c.Reject, c.Held))
		}
		list, span, err := m.read(cmd.Context(), func() (analyzer.Config, error) { return s.Load(cmd) })
		if err != nil {
			return err
		}
		c.Label, c.Seed = m.source.Label, m.source.Seed
		trained, err := model.Train(list, c)
		if err != nil {
			return err
		}
		trained.From, trained.To = span.Start.UTC(), span.End.UTC()
		if err := trained.Save(args[0]); err != nil {
			return err
		}
		return printModel(cmd.OutOrStdout(), trained)
	}
	return cmd
}

func modelShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE",
		Short: "Tell what a model knows, of which time it is, and how it did",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := model.Load(args[0])
			if err != nil {
				return err
			}
			return printModel(cmd.OutOrStdout(), m)
		},
	}
}

func printModel(out io.Writer, m file.File[*model.Model]) error {
	span := "a file of flows"
	if !m.From.IsZero() && m.From.Unix() != 0 {
		span = m.From.Format(time.RFC3339) + " to " + m.To.Format(time.RFC3339)
	}
	fmt.Fprintf(out, "%s version %d, label %s, of %s, seed %d\n%d flows of %d hosts, %d classes, %d trees; unknown below a confidence of %.2f\n\n",
		m.Kind, m.Version, m.Model.Label, span, m.Seed, m.Rows, m.Model.Hosts, len(m.Model.Classes), len(m.Model.Trees), m.Model.Reject)
	return m.Model.Report.Print(out)
}

func modelEvaluateCommand(s service.Service[analyzer.Config]) *cobra.Command {
	var m modelFlows
	cmd := &cobra.Command{
		Use:   "evaluate FILE",
		Short: "Try a model on other flows whose class is known",
		Args:  cobra.ExactArgs(1),
	}
	m.flags(cmd)
	s.Flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := model.Load(args[0])
		if err != nil {
			return err
		}
		if !cmd.Flags().Changed("label") && m.labels == "" {
			m.source.Label = f.Model.Label
		}
		list, _, err := m.read(cmd.Context(), func() (analyzer.Config, error) { return s.Load(cmd) })
		if err != nil {
			return err
		}
		return f.Model.Evaluate(list).Print(cmd.OutOrStdout())
	}
	return cmd
}

func modelClassifyCommand(s service.Service[analyzer.Config]) *cobra.Command {
	var m modelFlows
	cmd := &cobra.Command{
		Use:   "classify FILE",
		Short: "Say what a model takes flows for, by server",
		Args:  cobra.ExactArgs(1),
	}
	m.flags(cmd)
	s.Flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := model.Load(args[0])
		if err != nil {
			return err
		}
		list, err := m.unlabelled(cmd.Context(), func() (analyzer.Config, error) { return s.Load(cmd) })
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "server\tport\tname\tclass\tflows\tconfidence\n")
		for _, t := range f.Model.Tally(list) {
			fmt.Fprintf(w, "%s\t%d\t%q\t%s\t%d\t%.2f\n", t.Server, t.Port, t.Name, t.Class, t.Flows, t.Confidence)
		}
		return w.Flush()
	}
	return cmd
}

// unlabelled reads flows whatever they are.
func (m *modelFlows) unlabelled(ctx context.Context, load func() (analyzer.Config, error)) ([]model.Labelled, error) {
	m.labels, m.source.Label = "", model.LabelNone
	list, _, err := m.read(ctx, load)
	return list, err
}
