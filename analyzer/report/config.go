package report

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/notify"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// Config is which reports are made, when, and where they go.
type Config struct {
	Kinds    []string       `conf:"kinds" help:"reports that are made by themselves: daily, weekly (from Monday), monthly"`
	Dir      string         `conf:"dir" help:"directory they are written to; empty: none"`
	Email    []notify.Email `conf:"email" help:"mail servers and recipients that get them, as in notify"`
	TimeZone string         `conf:"time_zone" help:"of days, weeks and months and of the times in reports, such as Europe/Vienna; empty: UTC"`
	Delay    time.Duration  `conf:"delay" help:"how long after a period its report is made, so that late flows are in it"`
	Links    []string       `conf:"links" help:"capacities of links, as probe=bits per second with k, M or G: [\"edge1=10G\"]; besides those of detect.behaviour.link_capacity"`
	Pairs    int            `conf:"pairs" help:"rows of the matrices of prefixes and autonomous systems"`
	Bits4    int            `conf:"bits_ipv4" help:"length of IPv4 prefixes in the matrix"`
	Bits6    int            `conf:"bits_ipv6" help:"length of IPv6 prefixes in the matrix"`
	Timeout  time.Duration  `conf:"timeout" help:"for one statement; what takes longer is left out of the report, which says so"`
	Memory   kit.Bytes      `conf:"memory" help:"memory of one statement at most, likewise"`
}

// DefaultConfig makes no reports by itself.
func DefaultConfig() Config {
	return Config{Delay: 3 * time.Hour, Pairs: 50, Bits4: 24, Bits6: 48, Timeout: 2 * time.Minute, Memory: 2 << 30}
}

// Kinds of reports.
const (
	Daily   = "daily"
	Weekly  = "weekly"
	Monthly = "monthly"
)

// Check says what is wrong with c.
func (c Config) Check() error {
	for _, k := range c.Kinds {
		if !slices.Contains([]string{Daily, Weekly, Monthly}, k) {
			return kit.Hint(fmt.Errorf("report.kinds: %q is unknown", k), "some of daily, weekly, monthly")
		}
	}
	if _, err := c.location(); err != nil {
		return err
	}
	if _, err := c.capacities(); err != nil {
		return fmt.Errorf("report.links: %w", err)
	}
	if c.Delay < 0 || c.Delay > 24*time.Hour {
		return fmt.Errorf("report.delay: %v is not between 0 and a day", c.Delay)
	}
	if c.Pairs < 1 || c.Pairs > 1000 {
		return errors.New("report.pairs: not between 1 and 1000")
	}
	if c.Bits4 < 8 || c.Bits4 > 32 || c.Bits6 < 16 || c.Bits6 > 128 {
		return errors.New("report.bits_ipv4, report.bits_ipv6: not within 8 to 32 and 16 to 128")
	}
	if c.Timeout <= 0 || c.Memory < 64<<20 {
		return errors.New("report.timeout, report.memory: too little; at least a moment and 64M are needed")
	}
	names := map[string]bool{}
	for i, e := range c.Email {
		if _, err := notify.NewMailer(fmt.Sprintf("report.email[%d]", i), e); err != nil {
			return err
		}
		if names[e.Name] {
			return fmt.Errorf("report.email[%d].name: %q is taken", i, e.Name)
		}
		names[e.Name] = true
	}
	return nil
}

func (c Config) location() (*time.Location, error) {
	loc, err := time.LoadLocation(c.TimeZone)
	if err != nil || c.TimeZone == "Local" {
		return nil, kit.Hint(fmt.Errorf("report.time_zone: %q is unknown", c.TimeZone), "write it as Europe/Vienna")
	}
	return loc, nil
}

// capacities are those of links by name, in bits per second.
func (c Config) capacities() (map[string]float64, error) {
	out := map[string]float64{}
	for _, entry := range c.Links {
		name, text, ok := strings.Cut(entry, "=")
		factor := 1.0
		if ok && text != "" {
			if f, known := map[byte]float64{'k': 1e3, 'M': 1e6, 'G': 1e9, 'T': 1e12}[text[len(text)-1]]; known {
				factor, text = f, text[:len(text)-1]
			}
		}
		v, err := strconv.ParseFloat(text, 64)
		if !ok || name == "" || err != nil || !(v > 0) || math.IsInf(v, 0) || v > 1e15 {
			return nil, fmt.Errorf("%q is not probe=capacity, as in edge1=10G", entry)
		}
		out[name] = v * factor
	}
	return out, nil
}
