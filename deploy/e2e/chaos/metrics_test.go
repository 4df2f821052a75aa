package chaos

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// pauses is the longest time without a new row, and what was killed in it.
type pauses struct {
	mu      sync.Mutex
	since   []string
	longest time.Duration
	causes  []string
}

// watchGrowth looks for new rows until ctx ends.
func (r *rig) watchGrowth(ctx context.Context) {
	rows, grown := 0, time.Now()
	for ctx.Err() == nil {
		if n := r.stored(); n > rows {
			r.pauses.mu.Lock()
			if d := time.Since(grown); rows > 0 && d > r.pauses.longest {
				r.pauses.longest, r.pauses.causes = d, r.pauses.since
			}
			r.pauses.since = nil
			r.pauses.mu.Unlock()
			rows, grown = n, time.Now()
		}
		wait(ctx, 50*time.Millisecond)
	}
}

// note remembers a kill.
func (p *pauses) note(event string) {
	p.mu.Lock()
	p.since = append(p.since, event)
	p.mu.Unlock()
}

// String is for the table.
func (p *pauses) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("%s (%s)", p.longest.Round(100*time.Millisecond), strings.Join(p.causes, ", "))
}

const collectorMetrics = "tapwatch_collector_"

// scrape adds the counters of a collector that is about to be killed.
func (r *rig) scrape(i int) {
	for name, v := range r.read(i) {
		r.counted[name] += v
	}
}

// metric is a counter of all collectors there have been, as far as anybody
// could read it before they were killed.
func (r *rig) metric(name string) float64 {
	sum := r.counted[name]
	for i := range r.collectors {
		sum += r.read(i)[name]
	}
	return sum
}

// read returns the plain counters of a collector.
func (r *rig) read(i int) map[string]float64 {
	all := map[string]float64{}
	if r.naive || r.collectors[i] == nil || r.collectors[i].gone() {
		return all
	}
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + r.listens[i] + "/metrics")
	if err != nil {
		return all
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return all
	}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if name, ours := strings.CutPrefix(name, collectorMetrics); ok && ours {
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				all[name] = v
			}
		}
	}
	return all
}
