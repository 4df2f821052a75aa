package content

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed unknown_cluster.sql
var unknownClusterSQL string

//go:embed unknown_cluster_windows.sql
var unknownClusterWindowsSQL string

// UnknownClusterConfig are the thresholds of unknown_cluster.
type UnknownClusterConfig struct {
	MinConnections int `conf:"min_connections" help:"answered connections of a cluster in an hour, below which it is not told of"`
}

// maxClusterServices bounds the services that the evidence of a cluster names.
const maxClusterServices = 1000

// unknownCluster groups what nobody recognised.
type unknownCluster struct {
	own    detect.Own
	config UnknownClusterConfig
}

func newUnknownCluster(own detect.Own, c UnknownClusterConfig) detect.Detector {
	return unknownCluster{own, c}
}

func (d unknownCluster) Info() detect.Info {
	return detect.Info{
		Name: "unknown_cluster", Version: 2, Title: "A protocol that nobody recognised", Techniques: []string{"T1095", "T1571"},
		Length: time.Hour, Step: time.Hour, Gap: 7 * 24 * time.Hour,
		Doc: `Services answer in a protocol that the probe does not know. Those whose first packets are alike (direction and size of the first four, entropy and share of printable characters of the first)
are one cluster, whatever host and, if they differ, port they are on. One low incident of a cluster: of its port, or of its shape if there are several. The magnitude is the number of connections. What it is
is for people to say: a rule, a network's role or an exclusion keeps it quiet.`,
		Controls: []string{
			"connections without an answer, and answers without a question",
			"multicast and link-local groups",
			"networks of the roles scanner, monitor and lab, and sources in detect.exempt",
			"equals on many hosts, which are one incident",
		},
		Parameters: []detect.Parameter{
			{Name: "min_connections", Value: fmt.Sprint(d.config.MinConnections), Doc: "answered connections of a cluster in an hour; one or two are a guess at what they are"},
		},
	}
}

// Windows returns those with an answered flow that nobody recognised.
func (d unknownCluster) Windows(ctx context.Context, db detect.DB, span detect.Window) ([]time.Time, error) {
	return detect.Windows(ctx, db, d.Info(), detect.Compose(unknownClusterWindowsSQL), nil, span)
}

// unknownService is a row of the statement: a server and port.
type unknownService struct {
	Key         uint64    `ch:"cluster"`
	Site        string    `ch:"site"`
	Server      string    `ch:"server"`
	Port        uint16    `ch:"port"`
	Protocol    uint8     `ch:"protocol"`
	Clients     uint64    `ch:"clients"`
	Connections uint64    `ch:"connections"`
	Bytes       uint64    `ch:"bytes"`
	First       time.Time `ch:"first"`
	Last        time.Time `ch:"last"`
	FlowIDs     []string  `ch:"flow_ids"`
	Client      string    `ch:"client"`
	Outside     uint8     `ch:"outside"`
	Sizes       []int32   `ch:"sizes"`
	Entropy     float32   `ch:"entropy"`
	Printable   uint8     `ch:"printable"`
}

func (d unknownCluster) Detect(ctx context.Context, db detect.DB, w detect.Window) (detect.Result, error) {
	p := d.own.Params().Span(w).With("keys", "[]")
	sql := detect.Compose(unknownClusterSQL)
	found, err := detect.All[unknownService](ctx, db, "SELECT cluster, site, server, port, protocol, clients, connections, bytes, first, last, flow_ids, client, outside, sizes, entropy, printable FROM ("+sql+")", p)
	if err != nil {
		return detect.Result{}, fmt.Errorf("detect unknown_cluster: %w", err)
	}
	result := detect.Result{Judged: len(found)}
	for _, c := range clusters(found) {
		if c.connections() < uint64(d.config.MinConnections) {
			continue
		}
		a := d.alert(c, w)
		a.EvidenceSQL = sql
		keys := make([]string, 0, len(c))
		for _, s := range c {
			keys = append(keys, strconv.FormatUint(s.Key, 10))
		}
		a.EvidenceParams = p.With("keys", "["+strings.Join(keys, ",")+"]")
		result.Alerts = append(result.Alerts, a)
	}
	return result, nil
}

// cluster are services that are alike; the first is the one they are like.
type cluster []unknownService

func (c cluster) connections() (n uint64) {
	for _, s := range c {
		n += s.Connections
	}
	return n
}

// clusters puts each service to the first cluster whose first service it is like,
// the busiest services first. Clusters that would have one name are one.
func clusters(found []unknownService) []cluster {
	found = slices.Clone(found)
	slices.SortFunc(found, func(a, b unknownService) int {
		return cmp.Or(cmp.Compare(b.Connections, a.Connections), cmp.Compare(a.Server, b.Server), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Site, b.Site))
	})
	var list []cluster
	for _, s := range found {
		at := slices.IndexFunc(list, func(c cluster) bool {
			return len(c) < maxClusterServices && c[0].Site == s.Site && c[0].Protocol == s.Protocol && alike(c[0], s)
		})
		if at < 0 {
			list = append(list, cluster{s})
			continue
		}
		list[at] = append(list[at], s)
	}
	named := map[string]int{}
	var out []cluster
	for _, c := range list {
		name := c[0].Site + "\x00" + c.name()
		if at, ok := named[name]; ok && len(out[at])+len(c) <= maxClusterServices {
			out[at] = append(out[at], c...)
			continue
		} else if ok {
			continue
		}
		named[name] = len(out)
		out = append(out, c)
	}
	return out
}

// alike compares the first packets: same directions, sizes within a factor of two on
// average, entropy within one bit, printable within a quarter.
func alike(a, b unknownService) bool {
	n := min(len(a.Sizes), len(b.Sizes))
	far := 0.0
	for i := range n {
		if (a.Sizes[i] > 0) != (b.Sizes[i] > 0) || (a.Sizes[i] < 0) != (b.Sizes[i] < 0) {
			return false
		}
		far += math.Abs(math.Log2(1+math.Abs(float64(a.Sizes[i]))) - math.Log2(1+math.Abs(float64(b.Sizes[i]))))
	}
	return far <= float64(n) && math.Abs(float64(a.Entropy-b.Entropy)) <= 1 && math.Abs(float64(a.Printable)-float64(b.Printable)) <= 25
}

// name is the port that all have, or else the shape of the first.
func (c cluster) name() string {
	if !slices.ContainsFunc(c, func(s unknownService) bool { return s.Port != c[0].Port }) {
		return detect.Service(c[0].Protocol, c[0].Port)
	}
	return c[0].shape()
}

// shape is the directions of the first packets, and what they are made of.
func (s unknownService) shape() string {
	var b strings.Builder
	for _, n := range s.Sizes {
		switch {
		case n > 0:
			b.WriteByte('>')
		case n < 0:
			b.WriteByte('<')
		}
	}
	kind := "binary"
	switch {
	case s.Printable >= 75:
		kind = "text"
	case s.Entropy >= 7:
		kind = "random"
	}
	return b.String() + " " + kind
}

func (d unknownCluster) alert(c cluster, w detect.Window) alert.Alert {
	a := detect.Base(d.Info(), w)
	var clients, bytes uint64
	var servers, ids []string
	outside := false
	a.Start, a.End = c[0].First, c[0].Last
	for _, s := range c {
		clients, bytes = clients+s.Clients, bytes+s.Bytes
		servers, ids = append(servers, s.Server), append(ids, s.FlowIDs...)
		outside = outside || s.Outside > 0
		if s.First.Before(a.Start) {
			a.Start = s.First
		}
		if s.Last.After(a.End) {
			a.End = s.Last
		}
	}
	servers, ids = distinct(servers), distinct(ids)
	n := c.connections()
	a.FlowIDs, a.Magnitude, a.Severity, a.Confidence = ids[:min(len(ids), 5)], float64(n), alert.Low, 0.6
	volume, spread := min(1, math.Log10(1+float64(n))/3), min(1, math.Log10(1+float64(clients))/2)
	a.SubScores = map[string]float64{"volume": volume, "spread": spread}
	a.Score = detect.Bounded(0.5*volume + 0.2*spread)
	name := c.name()
	kind := "service"
	if c[0].shape() == name {
		kind = "shape"
	}
	a.Entities = detect.Entities(kind, name, "site", c[0].Site)
	a.Title = fmt.Sprintf("Unknown protocol on %s: %d connections to %d servers", name, n, len(servers))
	if len(servers) == 1 {
		a.Victim = servers[0]
		a.Title = fmt.Sprintf("Unknown protocol on %s of %s: %d connections", name, servers[0], n)
	}
	if len(c) == 1 && c[0].Clients == 1 {
		a.Actor = c[0].Client
	}
	a.Reasons = []string{
		fmt.Sprintf("nobody recognised %d connections of %d clients, %s; %d in an hour are enough", n, clients, detect.Size(float64(bytes)), d.config.MinConnections),
		fmt.Sprintf("first payloads of %v octets (negative: from the server), entropy %.1f of 8 bits, %d %% printable", c[0].Sizes, c[0].Entropy, c[0].Printable),
		fmt.Sprintf("%d services are alike", len(c)),
	}
	if outside {
		a.Reasons = append(a.Reasons, "it crosses the border of the site")
	}
	a.Unless = []string{fmt.Sprintf("fewer than %d answered connections in an hour", d.config.MinConnections), "a protocol that the probe knows", "an exclusion for the port or the servers"}
	return a
}
