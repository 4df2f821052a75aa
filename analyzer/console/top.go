package console

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/danielgtaylor/huma/v2"

	"github.com/tapwatch/tapwatch/analyzer/query"
)

// address writes an address column without ::ffff:.
func address(column string) string {
	return "replaceRegexpOne(toString(" + column + "), '^::ffff:([0-9.]+)$', '\\\\1')"
}

// dimension is what top can be asked by.
type dimension struct {
	columns []string // that the name is made of
	name    string   // expression over them
	not     string   // condition that leaves out what has none
}

func dimensions() map[string]dimension {
	return map[string]dimension{
		"host":      {columns: []string{"src_ip", "dst_ip"}, name: address("arrayJoin(if(src_ip = dst_ip, [src_ip], [src_ip, dst_ip]))")},
		"src_ip":    {columns: []string{"src_ip"}, name: address("src_ip")},
		"dst_ip":    {columns: []string{"dst_ip"}, name: address("dst_ip")},
		"pair":      {columns: []string{"src_ip", "dst_ip"}, name: "concat(" + address("src_ip") + ", ' → ', " + address("dst_ip") + ")"},
		"app":       {columns: []string{"app"}, name: "app"},
		"dst_port":  {columns: []string{"dst_port", "protocol"}, name: "concat(transform(protocol, [1, 6, 17, 58, 132], ['icmp', 'tcp', 'udp', 'icmp6', 'sctp'], toString(protocol)), '/', toString(dst_port))"},
		"tls_sni":   {columns: []string{"tls_sni"}, name: "tls_sni", not: "tls_sni != ''"},
		"http_host": {columns: []string{"http_host"}, name: "http_host", not: "http_host != ''"},
		"dns_name":  {columns: []string{"dns_names"}, name: "arrayJoin(arrayDistinct(dns_names))", not: "notEmpty(dns_names)"},
		"ja4":       {columns: []string{"ja4"}, name: "ja4", not: "ja4 != ''"},
	}
}

type topInput struct {
	RangeInput
	FilterInput
	SampleInput
	By     string `query:"by" enum:"host,src_ip,dst_ip,pair,app,dst_port,tls_sni,http_host,dns_name,ja4" default:"host" doc:"host counts each flow for both of its sides, dns_name for every name asked in it"`
	Metric string `query:"metric" enum:"bytes,frame_bytes,packets,flows" default:"bytes" doc:"what the order is by; bytes are IP octets of both directions, flows are connections"`
	N      int    `query:"n" minimum:"1" maximum:"1000" default:"10"`
}

// Top is who has most.
type Top struct {
	Range        Range        `json:"range" doc:"in whole minutes"`
	Completeness Completeness `json:"completeness"`
	Source       *Source      `json:"source,omitempty" doc:"not there where the range is empty"`
	By           string       `json:"by"`
	Metric       string       `json:"metric"`
	Total        Volume       `json:"total" doc:"all flows that fit, each once"`
	Names        uint64       `json:"names" doc:"how many names there are in all"`
	Top          []Entry      `json:"top" doc:"most first"`
}

// Volume is an amount of traffic, both directions.
type Volume struct {
	Flows      uint64 `json:"flows" doc:"connections"`
	Packets    uint64 `json:"packets"`
	Bytes      uint64 `json:"bytes" doc:"IP octets"`
	FrameBytes uint64 `json:"frame_bytes" doc:"octets on the wire"`
}

// Entry is one name with its traffic.
type Entry struct {
	Name string `json:"name" doc:"empty: not determined"`
	Volume
	SrcBytes uint64  `json:"src_bytes" doc:"IP octets from the initiators"`
	DstBytes uint64  `json:"dst_bytes" doc:"IP octets from the responders"`
	Share    float64 `json:"share" doc:"of the total, in the metric, 0 to 1"`
}

// minutes widens a range to whole minutes.
func minutes(r timeRange) timeRange { return align(r, time.Minute) }

// align widens a range to multiples of step since 1970.
func align(r timeRange, step time.Duration) timeRange {
	s := int64(step / time.Second)
	from, to := r.From.Unix()/s*s, r.To.Unix()
	if r.To.Nanosecond() > 0 {
		to++
	}
	return timeRange{time.Unix(from, 0).UTC(), time.Unix((to+s-1)/s*s, 0).UTC()}
}

func (c *Console) top(ctx context.Context, in *topInput) (*answer[Top], error) {
	q, err := c.ask(ctx, in.RangeInput, in.FilterInput, in.SampleInput)
	if err != nil {
		return nil, err
	}
	r := q.span
	if !r.empty() {
		r = minutes(r)
		q.clip = q.filter.Clip(query.Span{From: r.From, To: r.To})
	}
	out := Top{Range: r.tell(), By: in.By, Metric: in.Metric, Top: []Entry{}}
	if out.Completeness, err = c.db.completeness(ctx, r, in.Probe); err != nil || q.empty {
		return &answer[Top]{out}, err
	}
	d := dimensions()[in.By]
	of := func(p *query.Plan) string {
		if d.not != "" {
			return p.Source + " WHERE " + d.not
		}
		return p.Source
	}
	metric := metricColumns[in.Metric]
	sql := func(p *query.Plan) string {
		p.Params["n"] = fmt.Sprint(in.N)
		return "SELECT " + d.name + " AS name, sum(flows), sum(packets), sum(bytes), sum(frame_bytes), sum(src_bytes), sum(dst_bytes), count() OVER () FROM " + of(p) +
			" GROUP BY name ORDER BY sum(" + metric + ") DESC, name LIMIT {n:UInt32}"
	}
	p, source, err := c.plan(ctx, q, query.Need{Columns: d.columns, Sample: in.Sample}, sql)
	if err != nil {
		return nil, fmt.Errorf("read top: %w", err)
	}
	out.Source = source
	err = c.db.one(ctx, "SELECT sum(flows), sum(packets), sum(bytes), sum(frame_bytes) FROM "+of(p), p.Params,
		&out.Total.Flows, &out.Total.Packets, &out.Total.Bytes, &out.Total.FrameBytes)
	if err != nil {
		return nil, fmt.Errorf("add up the total: %w", err)
	}
	out.Total.scale(p)
	err = c.db.each(ctx, sql(p), p.Params, func(rows driver.Rows) error {
		var e Entry
		if err := rows.Scan(&e.Name, &e.Flows, &e.Packets, &e.Bytes, &e.FrameBytes, &e.SrcBytes, &e.DstBytes, &out.Names); err != nil {
			return err
		}
		e.Volume.scale(p)
		e.SrcBytes, e.DstBytes = p.Scale(e.SrcBytes), p.Scale(e.DstBytes)
		if total := out.Total.of(in.Metric); total > 0 {
			e.Share = float64(e.Volume.of(in.Metric)) / float64(total)
		}
		out.Top = append(out.Top, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read top: %w", err)
	}
	return &answer[Top]{out}, nil
}

func (v Volume) of(metric string) uint64 {
	switch metric {
	case "flows":
		return v.Flows
	case "packets":
		return v.Packets
	case "frame_bytes":
		return v.FrameBytes
	}
	return v.Bytes
}

// scale brings the sums of a sample to the whole.
func (v *Volume) scale(p *query.Plan) {
	v.Flows, v.Packets, v.Bytes, v.FrameBytes = p.Scale(v.Flows), p.Scale(v.Packets), p.Scale(v.Bytes), p.Scale(v.FrameBytes)
}

func (c *Console) sumRoutes(api huma.API) {
	register(c, api, "top", "/api/v1/top", "Who has most", "Names by traffic, most first. Ranges are widened to whole minutes.", c.top)
	register(c, api, "timeseries", "/api/v1/timeseries", "Traffic over time",
		"Traffic in steps of equal length; steps without traffic are there, as 0. A flow counts where it (or its segment, at most a minute long by default) began.", c.timeseries)
}
