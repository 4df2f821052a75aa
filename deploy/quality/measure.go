package quality

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options say what is measured.
type Options struct {
	Captures string // folder of the shared captures
	Only     string // cases and parts whose name holds this; empty: all
	Made     Generated
	Analyzer string // folder of the analyzer's source, whose tests measure series
}

// DefaultOptions measures all; the captures are beside the project.
func DefaultOptions() Options {
	return Options{Captures: "../../shared/captures", Analyzer: "../analyzer", Made: Generated{Seeds: []uint64{1, 2}, Hosts: 20, Days: 3, Visits: 60, Backup: 500_000_000, Calls: 21}}
}

// Measure runs all cases and prints the report to out; log hears how far it is.
func Measure(ctx context.Context, o Options, out, log io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "tapwatch-quality-")
	if err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	defer os.RemoveAll(dir)
	chain, err := Start(ctx, dir, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, chain.Close()) }()
	cases, err := captureCases(o.Captures)
	if err != nil {
		return err
	}
	cases = append(cases, logCases(o.Captures)...)
	cases = append(cases, syntheticCases(o.Made)...)
	var outcomes []Outcome
	for _, k := range cases {
		k.Parts = slices.DeleteFunc(k.Parts, func(p Part) bool { return !strings.Contains(k.Name+" "+p.Name, o.Only) })
		if len(k.Parts) == 0 {
			continue
		}
		results, err := chain.Run(ctx, k)
		if err != nil {
			return fmt.Errorf("%s: %w", k.Name, err)
		}
		outcomes = append(outcomes, results...)
	}
	series := [2]string{"not run", "not run"}
	if o.Only == "" {
		series[0] = seriesFigures(ctx, o.Analyzer, "^TestNAB$", "./baseline", "of 100")
		series[1] = seriesFigures(ctx, o.Analyzer, ".", "./forecast", "MASE mean")
	}
	report(out, outcomes, series)
	return nil
}

// captureCases are all captures, each a site of its own.
func captureCases(dir string) ([]Case, error) {
	files, err := readLabels(filepath.Join(dir, "labels.tsv"))
	if err != nil {
		return nil, err
	}
	k, rest := Case{Name: "labelled captures", Delays: true, Inside: []netip.Prefix{university()}}, Case{Name: "other captures"}
	known := map[string]bool{}
	add := func(k *Case, file string, truths []Truth) {
		known[file] = true
		if !strings.HasPrefix(file, "flows/") {
			k.Parts = append(k.Parts, capturePart(file, fmt.Sprintf("site-%d", len(k.Parts)+1), truths, filepath.Join(dir, file)))
		}
	}
	for _, l := range files {
		add(&k, l.file, l.truths)
	}
	list, err := os.ReadFile(filepath.Join(dir, "captures.tsv"))
	if err != nil {
		return nil, fmt.Errorf("open list of captures: %w", err)
	}
	for n, line := range strings.Split(string(list), "\n") {
		if file, _, _ := strings.Cut(line, "\t"); n > 0 && file != "" && !known[file] {
			add(&rest, file, nil)
		}
	}
	return []Case{k, rest}, nil
}

// progress prints one case as it is done.
func progress(log io.Writer, o Outcome) {
	if len(o.Findings)+len(o.Related)+len(o.Noise)+len(o.Low) == 0 {
		return
	}
	fmt.Fprintf(log, "%s: %d rows\n", o.Case, o.Rows)
	for _, f := range o.Findings {
		switch {
		case f.Harmless:
			fmt.Fprintf(log, "  harmless %s: %d false\n", f.Kind, len(f.False))
		case f.Hit == nil:
			fmt.Fprintf(log, "  MISSED %s of %v\n", f.Kind, f.Actors)
		default:
			fmt.Fprintf(log, "  found %s: %s %s %q, %d more\n", f.Kind, f.Hit.Severity, f.Hit.Detector, f.Hit.Title, len(f.Twice))
		}
		for _, i := range append(f.False, f.Twice...) {
			fmt.Fprintf(log, "    also %s %s %q\n", i.Severity, i.Detector, i.Title)
		}
	}
	for what, list := range map[string][]Incident{"related": o.Related, "noise": o.Noise, "low": o.Low} {
		for n, i := range list {
			if n == 12 {
				fmt.Fprintf(log, "  %s: and %d more\n", what, len(list)-n)
				break
			}
			fmt.Fprintf(log, "  %s %s %s %q\n", what, i.Severity, i.Detector, i.Title)
		}
	}
}
