package quality

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// Truth is one thing that is known to be in a case: an attack that must be found,
// or a harmless twin of one that must raise nothing of medium severity or more.
type Truth struct {
	Family    string // of the detectors that have to find it, see families
	Kind      string // as labelled
	Actors    []string
	Victims   []string // empty: any
	Start     time.Time
	End       time.Time
	Within    time.Duration // of its start, in traffic time; 0: at any time
	Harmless  bool
	Note      string
	Technique string
	Evasion   string // how it tries not to be found; empty: not at all
}

// labelled is a file of labels.tsv with what is in it.
type labelled struct {
	file   string
	truths []Truth
}

// readLabels reads labels.tsv of the shared captures, in its order. What is said
// of one file is one case.
func readLabels(path string) ([]labelled, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open labels: %w", err)
	}
	defer f.Close()
	var list []labelled
	at := map[string]int{}
	scan := bufio.NewScanner(f)
	for line := 1; scan.Scan(); line++ {
		cell := strings.Split(scan.Text(), "\t")
		if line == 1 || len(cell) < 7 {
			continue
		}
		t := Truth{Kind: cell[1], Family: kindFamily(cell[1]), Actors: addresses(cell[2]), Victims: addresses(cell[3]), Note: cell[6]}
		t.Harmless = strings.HasPrefix(t.Kind, "negative_")
		for i, to := range []*time.Time{&t.Start, &t.End} {
			if cell[4+i] == "" {
				continue
			}
			seconds, err := strconv.ParseFloat(cell[4+i], 64)
			if err != nil {
				return nil, fmt.Errorf("labels, line %d: time: %w", line, err)
			}
			*to = time.UnixMicro(int64(seconds * 1e6)).UTC()
		}
		if t.Kind == "icmp_tunnel" {
			// Which side is the client was read from the capture, says the label.
			t.Actors = append(t.Actors, t.Victims...)
		}
		n, ok := at[cell[0]]
		if !ok {
			n = len(list)
			at[cell[0]] = n
			list = append(list, labelled{file: cell[0]})
		}
		list[n].truths = append(list[n].truths, t)
	}
	return list, scan.Err()
}

// addresses are those in a cell that are addresses, networks, names or hardware
// addresses; words such as "many" or "spoofed" name nobody.
func addresses(cell string) []string {
	var list []string
	for part := range strings.SplitSeq(cell, ",") {
		part = strings.TrimSpace(part)
		first, _, _ := strings.Cut(part, " ")
		if _, err := netip.ParseAddr(part); err == nil {
			list = append(list, part)
		} else if _, err := netip.ParsePrefix(part); err == nil {
			list = append(list, part)
		} else if strings.ContainsAny(first, ".:") {
			list = append(list, first)
		}
	}
	return list
}
