// Package demo describes the captures that Tapwatch records of itself: folder captures holds them with the list
// of what was planted in them, folder record the program that makes both.
//
// In: captures/labels.tsv. Out: Label values for tests and for whoever compares alerts with the truth.
package demo

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// Label is one planted thing: an attack that some detector must report, or (family "benign") a neighbour of one that
// none may report.
type Label struct {
	File      string     // capture, relative to the folder of labels.tsv
	Family    string     // scan, sweep, flood, beacon, exfiltration, volume or benign
	Technique string     // MITRE ATT&CK id, "-" for none
	Actor     netip.Addr // invalid: many (spoofed) or none
	Victim    string     // an address or a prefix; of a beacon or an upload its destination
	Port      uint16     // 0: many
	Start     time.Time  // first packet, UTC, cut to the second
	End       time.Time  // last packet, rounded up to the second
	Note      string
}

const labelColumns = "file\tfamily\ttechnique\tactor\tvictim\tport\tstart\tend\tnote"

// ReadLabels reads a labels.tsv. Any line that does not parse is an error that names it.
func ReadLabels(path string) ([]Label, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open labels: %w", err)
	}
	defer f.Close()
	labels, err := ParseLabels(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return labels, nil
}

// ParseLabels is ReadLabels on a stream.
func ParseLabels(r io.Reader) ([]Label, error) {
	var out []Label
	scan := bufio.NewScanner(r)
	for n := 1; scan.Scan(); n++ {
		if n == 1 {
			if scan.Text() != labelColumns {
				return nil, fmt.Errorf("line 1: expected the columns %q", labelColumns)
			}
			continue
		}
		cell := strings.Split(scan.Text(), "\t")
		if len(cell) != 9 {
			return nil, fmt.Errorf("line %d: %d columns instead of 9", n, len(cell))
		}
		l := Label{File: cell[0], Family: cell[1], Technique: cell[2], Victim: cell[4], Note: cell[8]}
		var err error
		if cell[3] != "-" {
			if l.Actor, err = netip.ParseAddr(cell[3]); err != nil {
				return nil, fmt.Errorf("line %d: actor: %w", n, err)
			}
		}
		port, err := strconv.ParseUint(cell[5], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("line %d: port: %w", n, err)
		}
		l.Port = uint16(port)
		for i, at := range []*time.Time{&l.Start, &l.End} {
			seconds, err := strconv.ParseInt(cell[6+i], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("line %d: time: %w", n, err)
			}
			*at = time.Unix(seconds, 0).UTC()
		}
		out = append(out, l)
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("read labels: %w", err)
	}
	return out, nil
}

// WriteLabels writes what ReadLabels reads.
func WriteLabels(w io.Writer, labels []Label) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, labelColumns)
	for _, l := range labels {
		actor := "-"
		if l.Actor.IsValid() {
			actor = l.Actor.String()
		}
		fmt.Fprintf(b, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", l.File, l.Family, l.Technique, actor, l.Victim, l.Port,
			l.Start.Unix(), l.End.Unix(), l.Note)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write labels: %w", err)
	}
	return nil
}
