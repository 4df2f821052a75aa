package channel

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed beacon_calls.sql
var beaconCallsSQL string

//go:embed beacon_pairs.sql
var beaconPairsSQL string

//go:embed beacon.sql
var beaconSQL string

//go:embed beacon_windows.sql
var beaconWindowsSQL string

// withCalls is a statement that begins with the calls of all pairs.
func withCalls(sql string) string {
	return strings.Replace(detect.Compose(sql), "/*calls*/", detect.Compose(beaconCallsSQL), 1)
}

// BeaconConfig are the thresholds of beacon.
type BeaconConfig struct {
	MinScore         float64  `conf:"min_score" help:"least score for an alert, 0 to 1"`
	MinGap           float64  `conf:"min_gap" help:"least median time between calls, seconds; quicker ones, down to 1 s, need 20 gaps within an hour or two and are medium at most"`
	MaxGap           float64  `conf:"max_gap" help:"greatest median time between calls, seconds"`
	MinConnections   int      `conf:"min_connections" help:"connections that make an alert trustworthy; with less, 7 at least and like a clock, its severity is low at most"`
	MinConcentration float64  `conf:"min_concentration" help:"least share of gaps within 35 % of their median, 0 to 1"`
	MaxSizeSpread    float64  `conf:"max_size_spread" help:"median deviation of the sizes from their median, as a share of it, up to which they count as alike, 0 to 1"`
	KnownNames       []string `conf:"known_names" help:"names, with all below them, that updates, telemetry and push services call by the clock: low at most"`
}

// beacon looks for connections that are made by a clock. The statement beacon.sql
// scores all pairs of a window, too; as the planning of it takes longer than all
// else, it serves as evidence only, and a light one fetches what Go scores alike.
type beacon struct {
	own detect.Own
	c   BeaconConfig
}

func newBeacon(own detect.Own, c BeaconConfig) detect.Detector { return beacon{own, c} }

func (b beacon) Info() detect.Info {
	c := b.c
	return detect.Info{
		Name: "beacon", Version: 4, Title: "Beacon", Techniques: []string{"T1071.001", "T1573"},
		Length: 15 * time.Minute, Step: 15 * time.Minute,
		Doc: `A client calls the same name (of TLS or QUIC, host of HTTP, or what it asks an explicit proxy for) or address and port at regular times with messages of like
size. Each window looks back 1 and 2 hours, at full hours also 6 and 24 hours, every 6 hours also 7 days; the best of them counts, and all are one incident of client and target.
The score is a product. conc: share of the gaps within 35 % of their median. span: 0.6 plus 0.4 times the logarithm of the hours it lasts, 1 at a day. size: 1 up to a median
deviation of max_size_spread, 0 at 100 %. rarity: 1 for a single client or 2 % of the inside hosts, 0.4 when half of them call the same. Calls are counted for all fingerprints
together and for each JA4 alone. Pauses count between bursts where a call is several connections. RITA's score of the last 24 hours is stored beside it (rita).
conc has to be min_concentration, and the gaps 36 000 times likelier of a clock with jitter and failures than of a memoryless poller, of whose gaps 24.5 % are
near their median. Severity low from min_score, medium from 0.5, high from 0.75, critical from 0.95. The magnitude is the number of connections.`,
		Controls: []string{
			"Only connections with payload in both directions, to one host, from a start that was seen.",
			"DNS, DHCP, NTP and mDNS ports are left out, and sources in detect.exempt.",
			"What stays inside counts only between different networks of detect.inside, with 0.7 of its rarity and medium at most.",
			"From outside: login ports (brute force) and sources that tried ten things without an answer (scans) are left out, and what is quicker than min_gap.",
			"Names of updates, telemetry and push services (known_names) have half of the rarity and are low at most; what many inside hosts call is not rare, and low at most from 5 hosts and a tenth of all on.",
			"A pair that has a name is not counted again by address, a proxy is not a target.",
		},
		Parameters: []detect.Parameter{
			{Name: "min_score", Value: detect.Decimal(c.MinScore), Doc: "least product of the sub-scores"},
			{Name: "min_gap", Value: detect.Decimal(c.MinGap), Doc: "least median gap in seconds; quicker ones need 20 gaps"},
			{Name: "max_gap", Value: detect.Decimal(c.MaxGap), Doc: "greatest median gap in seconds; 12 of them fit into the 7 days"},
			{Name: "min_connections", Value: fmt.Sprint(c.MinConnections), Doc: "a beacon of 5 minutes is found within 60; below it, from 7 connections all gaps of which are within 15 % of their median, low at most"},
			{Name: "min_concentration", Value: detect.Decimal(c.MinConcentration), Doc: "share of gaps near the median; 0.92 is passed with 50 % jitter, 0.00 by a Poisson process of 20 gaps"},
			{Name: "max_size_spread", Value: detect.Decimal(c.MaxSizeSpread), Doc: "0.25 of the median"},
			{Name: "known_names", Value: strings.Join(c.KnownNames, " "), Doc: "updates, telemetry, push services"},
		},
	}
}

func (b beacon) params(w detect.Window) detect.Params {
	return b.own.Params().Unix(w).With("logins", loginPorts, "src", "", "target", "", "port", "0", "site", "")
}

// Windows returns the quarters of an hour that look regular, and the last of each
// six hours. A full hour alone is looked at without asking: to ask takes as long.
func (b beacon) Windows(ctx context.Context, db detect.DB, span detect.Window) ([]time.Time, error) {
	if b.Info().Single(span) && span.End.Unix()%3600 == 0 {
		return []time.Time{span.Start}, nil
	}
	return detect.Windows(ctx, db, b.Info(), detect.Compose(beaconWindowsSQL), b.own.Params().With("min_concentration", detect.Decimal(b.c.MinConcentration)), span)
}

// Detect asks for the pairs and scores them.
func (b beacon) Detect(ctx context.Context, db detect.DB, w detect.Window) (detect.Result, error) {
	pairs, err := detect.All[beaconPair](ctx, db, withCalls(beaconPairsSQL), b.params(w))
	if err != nil {
		return detect.Result{}, fmt.Errorf("detect beacon: %w", err)
	}
	r := detect.Result{Judged: len(pairs)}
	best := map[[3]string]beaconScore{}
	for i := range pairs {
		s, ok := pairs[i].score(b.c, w.End)
		key := [3]string{pairs[i].Site, pairs[i].Src, pairs[i].Target}
		if old, known := best[key]; ok && (!known || s.before(&old)) {
			best[key] = s
		}
	}
	info := b.Info()
	evidence := b.params(w).With("min_score", detect.Decimal(b.c.MinScore), "min_gap", detect.Decimal(b.c.MinGap), "max_gap", detect.Decimal(b.c.MaxGap),
		"min_concentration", detect.Decimal(b.c.MinConcentration), "max_size_spread", detect.Decimal(b.c.MaxSizeSpread), "min_connections", detect.Number(b.c.MinConnections),
		"known", textList(b.c.KnownNames))
	for _, s := range best {
		a := detect.Base(info, w)
		s.judge(&a, b.c)
		a.EvidenceSQL = withCalls(beaconSQL)
		a.EvidenceParams = evidence.With("src", s.Src, "target", s.Target, "port", detect.Number(s.Port), "site", s.Site)
		r.Alerts = append(r.Alerts, a)
	}
	slices.SortFunc(r.Alerts, func(x, y alert.Alert) int {
		return cmp.Or(cmp.Compare(y.Score, x.Score), slices.Compare(x.Entities, y.Entities))
	})
	return r, nil
}

// loginPorts are where passwords are tried: FTP, SSH, Telnet, mail, SMB, SQL, RDP, VNC, WinRM.
const loginPorts = "[21,22,23,25,110,135,139,143,389,445,465,587,636,993,995,1433,2222,2323,3306,3389,5432,5900,5901,5985,5986,6379]"

// textList writes names, in lower case, as an Array(String) parameter.
func textList(list []string) string {
	return exactList(strings.Split(strings.ToLower(strings.Join(list, "\n")), "\n"))
}
