package lab

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	kafkago "github.com/segmentio/kafka-go"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// process is what one has used so far.
type process struct {
	cpu float64 // seconds
	rss uint64  // octets
}

type usage struct {
	probe, collector, analyzer process
	topic                      int64 // octets of messages
}

// cpu is the processor time of a process in seconds; 0 if it is gone.
func cpu(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var ticks uint64
	for _, f := range fields[11:13] {
		n, _ := strconv.ParseUint(f, 10, 64)
		ticks += n
	}
	return float64(ticks) / 100 // USER_HZ
}

func used(c *child) process {
	pid := c.cmd.Process.Pid
	p := process{cpu: cpu(pid)}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if fields := strings.Fields(string(text)); err == nil && len(fields) > 1 {
		pages, _ := strconv.ParseUint(fields[1], 10, 64)
		p.rss = pages * uint64(os.Getpagesize())
	}
	return p
}

func (l *lab) usage() usage {
	u := usage{probe: used(l.probe), collector: used(l.collector), analyzer: used(l.analyzers[0])}
	r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: []string{l.broker}, Topic: database, Partition: 0, MaxBytes: 8 << 20})
	defer r.Close()
	lag, err := r.ReadLag(l.t.Context())
	if err != nil {
		return u
	}
	for range lag {
		m, err := r.ReadMessage(l.t.Context())
		if err != nil {
			break
		}
		u.topic += int64(len(m.Value))
	}
	return u
}
