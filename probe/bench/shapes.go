package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
)

// workers compares one worker with two.
func workers(ctx context.Context, o options, out io.Writer) error {
	fmt.Fprintf(out, "\n## Workers, %s, --format none\n\n| workers | wall s | CPU s | packets/s | against one |\n| ---: | ---: | ---: | ---: | ---: |\n", filepath.Base(o.capture))
	var one float64
	for _, n := range []string{"1", "2"} {
		var best spent
		for range o.runs {
			s, err := flowsOnce(ctx, o, o.capture, nil, []string{"--format", "none", "--workers", n})
			if err != nil {
				return err
			}
			if best.wall == 0 || s.wall < best.wall {
				best = s
			}
		}
		rate := best.packets / best.wall.Seconds()
		if one == 0 {
			one = rate
		}
		fmt.Fprintf(out, "| %s | %.2f | %.2f | %s | %.2f x |\n", n, best.wall.Seconds(), best.cpu.Seconds(), count(rate), rate/one)
	}
	return nil
}

// shapes shows what flows, sizes and tunnels cost.
func shapes(ctx context.Context, o options, out io.Writer) error {
	fmt.Fprint(out, "\n## Cost against the shape of the traffic, --format none, synthetic TCP\n\n| traffic | packets | ns of CPU per packet |\n| --- | ---: | ---: |\n")
	const packets = 1_000_000
	for _, t := range []traffic{
		{flows: 100}, {flows: 10_000}, {flows: 100_000}, {flows: 250_000},
		{flows: 10_000, payload: 64}, {flows: 10_000, payload: 512}, {flows: 10_000, payload: 1400},
		{flows: 10_000, payload: 512, tunnel: "vlan"}, {flows: 10_000, payload: 512, tunnel: "gre"}, {flows: 10_000, payload: 512, tunnel: "vxlan"},
	} {
		t.packets = packets / t.flows
		path := filepath.Join(o.dir, "shape.pcap")
		if err := write(path, t); err != nil {
			return err
		}
		s, err := flows(ctx, o, path, nil, "--format", "none")
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "| %s | %s | %.0f |\n", t, count(s.packets), s.nsPerPacket())
	}
	return nil
}

// memory shows the resident set as flows stay open.
func memory(ctx context.Context, o options, out io.Writer) error {
	fmt.Fprint(out, "\n## Memory of open flows\n\n| flows open | one SYN each: MiB | octets per flow | an answered TCP connection: MiB | octets per flow |\n| ---: | ---: | ---: | ---: | ---: |\n")
	o.runs = 1
	rss := func(n, packets int) (int64, error) {
		s, err := flows(ctx, o, "-", func(w io.Writer) error { return generate(w, traffic{flows: n, packets: packets}) },
			"--format", "none", "--max-flows", fmt.Sprint(n+1), "--max-bytes", "64GiB", "--idle-timeout", "10h", "--unanswered-timeout", "10h", "--active-timeout", "10h")
		return s.rss, err
	}
	var base [2]int64
	for i, packets := range []int{1, 3} {
		var err error
		if base[i], err = rss(1, packets); err != nil {
			return err
		}
	}
	for n := 10_000; ; n *= 10 {
		n = min(n, o.flows)
		var got [2]int64
		for i, packets := range []int{1, 3} {
			var err error
			if got[i], err = rss(n, packets); err != nil {
				return err
			}
		}
		fmt.Fprintf(out, "| %s | %.0f | %.0f | %.0f | %.0f |\n", count(float64(n)), float64(got[0])/(1<<20), float64(got[0]-base[0])/float64(n),
			float64(got[1])/(1<<20), float64(got[1]-base[1])/float64(n))
		if n == o.flows {
			return nil
		}
	}
}
