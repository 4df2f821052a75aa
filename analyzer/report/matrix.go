package report

import (
	"context"
	"slices"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

func (c *collector) classes(ctx context.Context) error {
	totals := map[string]uint64{}
	err := c.each(ctx, "classes", func(rows driver.Rows) error {
		var k Class
		var percentile, peak uint64
		if err := rows.Scan(&k.Site, &k.Link, &k.DSCP, &k.Octets, &percentile, &peak); err != nil {
			return err
		}
		k.Name, k.P95, k.Peak = className(k.DSCP), c.rate(float64(percentile)), c.rate(float64(peak))
		totals[k.Site+"\x00"+k.Link] += k.Octets
		c.r.Classes = append(c.r.Classes, k)
		return nil
	})
	for i, k := range c.r.Classes {
		c.r.Classes[i].Share = share(k.Octets, totals[k.Site+"\x00"+k.Link])
	}
	return err
}

// className is the name of a class of service (RFC 2474, 2597, 3246, 5865, 8622).
func className(dscp uint8) string {
	switch {
	case dscp == 0:
		return "best effort"
	case dscp == 1:
		return "LE"
	case dscp == 44:
		return "voice admit"
	case dscp == 46:
		return "EF"
	case dscp < 64 && dscp%8 == 0:
		return "CS" + strconv.Itoa(int(dscp/8))
	case dscp >= 10 && dscp <= 38 && dscp%2 == 0:
		return "AF" + strconv.Itoa(int(dscp/8)) + strconv.Itoa(int(dscp%8/2))
	}
	return "other"
}

func (c *collector) pair(rows driver.Rows) (Pair, error) {
	var p Pair
	var percentile, peak uint64
	err := rows.Scan(&p.Site, &p.Link, &p.From, &p.To, &p.Octets, &percentile, &peak)
	p.P95, p.Peak = c.rate(float64(percentile)), c.rate(float64(peak))
	return p, err
}

func (c *collector) prefixes(ctx context.Context) error {
	return c.each(ctx, "prefixes", func(rows driver.Rows) error {
		p, err := c.pair(rows)
		c.r.Prefixes = append(c.r.Prefixes, p)
		return err
	}, clickhouse.Named("bits4", strconv.Itoa(c.cfg.Bits4)), clickhouse.Named("bits6", strconv.Itoa(c.cfg.Bits6)))
}

func (c *collector) systems(ctx context.Context) error {
	asns := map[string]string{}
	err := c.each(ctx, "systems", func(rows driver.Rows) error {
		p, err := c.pair(rows)
		c.r.Systems = append(c.r.Systems, p)
		asns[p.From], asns[p.To] = "", ""
		return err
	})
	if err != nil {
		return err
	}
	if len(c.r.Systems) == 0 {
		c.r.Notes = append(c.r.Notes, "the matrix of autonomous systems: no flow of the period has one; the collector needs a database of networks (enrich)")
		return nil
	}
	var list []string
	for asn := range asns {
		list = append(list, asn)
	}
	slices.Sort(list)
	err = c.each(ctx, "names", func(rows driver.Rows) error {
		var asn uint32
		var name string
		if err := rows.Scan(&asn, &name); err != nil {
			return err
		}
		asns[strconv.FormatUint(uint64(asn), 10)] = name
		return nil
	}, clickhouse.Named("asns", numbers(list)))
	for i := range c.r.Systems {
		for _, side := range []*string{&c.r.Systems[i].From, &c.r.Systems[i].To} {
			switch asn := *side; {
			case asn == "0":
				*side = "unknown or own"
			case asns[asn] != "":
				*side = "AS" + asn + " " + asns[asn]
			default:
				*side = "AS" + asn
			}
		}
	}
	return err
}

func numbers(list []string) []uint32 {
	out := make([]uint32, 0, len(list))
	for _, text := range list {
		if n, err := strconv.ParseUint(text, 10, 32); err == nil {
			out = append(out, uint32(n))
		}
	}
	return out
}
