package quality

import (
	"context"
	"net/netip"
	"path/filepath"
)

// university is the network in which some of the captures were made: its infected
// machines are the own ones there.
func university() netip.Prefix { return netip.MustParsePrefix("147.32.80.0/22") }

// logPart is a part that the importer reads from the logs of a folder.
func logPart(name, site, format string, truths []Truth, patterns ...string) Part {
	return Part{Name: name, Site: site, Real: true, Truths: truths, Load: func(ctx context.Context, s *Store, p *Part) error {
		var files []string
		for _, pattern := range patterns {
			list, err := filepath.Glob(pattern)
			if err != nil {
				return err
			}
			files = append(files, list...)
		}
		return s.Import(ctx, p.Name, p.Site, format, files...)
	}}
}

// logCases are the flow logs, with what their makers say of them: as in labels.tsv,
// and in the README of each.
func logCases(dir string) []Case {
	at := func(path string) string { return filepath.Join(dir, "flows", path) }
	attack := func(family string, actors, victims []string) Truth {
		return Truth{Kind: family, Family: family, Actors: actors, Victims: victims}
	}
	small := Case{Name: "flow logs", Delays: true, Parts: []Part{
		logPart("flows/slips/portscan-horizontal", "log-1", "zeek", []Truth{attack("sweep", []string{"10.0.2.112"}, nil)}, at("slips/portscan-horizontal/conn.log")),
		logPart("flows/slips/test18-ctu-sme-11-win", "log-2", "zeek", []Truth{attack("exfil", []string{"192.168.1.107"}, []string{"66.63.168.35"})}, at("slips/test18-ctu-sme-11-win/*.log.labeled")),
		logPart("flows/rita-proxy_rolling", "log-3", "zeek", []Truth{attack("beacon", []string{"10.0.0.238"}, []string{"75.75.75.75"}),
			attack("beacon", []string{"10.0.0.111"}, []string{"safebrowsing.googleapis.com"})}, at("rita-proxy_rolling/*.log.gz")),
		logPart("flows/strato-002-zeek-scenario-port-scanning", "log-4", "zeek", []Truth{attack("scan", []string{"172.16.1.11"}, nil)}, at("strato-002-zeek-scenario-port-scanning/conn.log")),
		logPart("flows/slips/test3-mixed", "log-5", "argus", []Truth{attack("sweep", []string{"46.166.151.160"}, nil)}, at("slips/test3-mixed.binetflow")),
	}}
	server := Case{Name: "flows/rita-server-day1", Inside: []netip.Prefix{netip.MustParsePrefix("64.225.56.201/32")}, Delays: true, Parts: []Part{
		logPart("flows/rita-server-day1", "log-6", "zeek", []Truth{attack("beacon", []string{"73.54.23.243"}, []string{"64.225.56.201"})}, at("rita-server-day1/*.log.gz")),
	}}
	benign := Case{Name: "days of benign hosts, attacked from outside", Inside: []netip.Prefix{university()}, Parts: []Part{
		logPart("flows/strato-008-zeek-mixed", "log-7", "zeek", nil, at("strato-008-zeek-mixed/data/*.log.labeled")),
		logPart("flows/strato-010-zeek-mixed", "log-8", "zeek", nil, at("strato-010-zeek-mixed/data/*.log.labeled")),
	}}
	return []Case{small, server, benign}
}
