// Package threshold has the detectors of limits: those that the operator sets for
// interfaces, hosts, networks, ports and applications, and what each service
// keeps to by its own past. In come flows of a window, out go alerts; nothing is
// owned.
package threshold

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// Config are the limits and the thresholds of the detectors here.
type Config struct {
	Limits        []Limit             `conf:"limits" help:"limits of your own"`
	ServiceHealth ServiceHealthConfig `conf:"service_health"`
}

// Limit is one limit that the operator sets. Exactly one of Bytes, Packets and
// Flows is greater than zero.
type Limit struct {
	Name      string        `conf:"name" help:"what the alert is called; different for each limit"`
	Of        string        `conf:"of" help:"interface, host, network, port or application"`
	Value     string        `conf:"value" help:"eth1, 10.0.0.5, 10.0.0.0/8, 443, tls; empty with host: each inside host by itself"`
	Direction string        `conf:"direction" help:"out: sent by host or network, or to a server of port or application; in: the reverse; both (default)"`
	Bytes     kit.Bytes     `conf:"bytes" help:"IP octets a second, as in 500kB"`
	Packets   float64       `conf:"packets" help:"packets a second"`
	Flows     float64       `conf:"flows" help:"connections begun a second"`
	Duration  time.Duration `conf:"duration" help:"how long, on average of it: whole minutes, 1m to 1h"`
	Severity  string        `conf:"severity" help:"low, medium (default) or high"`
}

// DefaultConfig has no limits of its own.
func DefaultConfig() Config {
	return Config{ServiceHealth: ServiceHealthConfig{MinConnections: 20, MinZ: 4, MinDelay: 30 * time.Millisecond, MinGrowth: 2, MinLoss: 0.03}}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	seen := map[string]bool{}
	var faults []error
	for i, l := range c.Limits {
		if err := l.check(); err != nil {
			faults = append(faults, fmt.Errorf("limits[%d]: %w", i, err))
		}
		if seen[l.Name] {
			faults = append(faults, fmt.Errorf("limits[%d]: name %q is there twice", i, l.Name))
		}
		seen[l.Name] = true
	}
	h := c.ServiceHealth
	return errors.Join(append(faults,
		detect.CheckPositive(map[string]float64{"service_health.min_z": h.MinZ, "service_health.min_delay": float64(h.MinDelay), "service_health.min_growth": h.MinGrowth}),
		detect.CheckShares(map[string]float64{"service_health.min_loss": h.MinLoss}),
		detect.CheckCounts(3, map[string]int{"service_health.min_connections": h.MinConnections}))...)
}

// check says what is wrong with one limit.
func (l Limit) check() error {
	if l.Name == "" {
		return errors.New("name: is empty")
	}
	// ClickHouse has no way to write them within an array of a parameter
	if strings.ContainsAny(l.Name+l.Value, "'\\\t\n") {
		return fmt.Errorf("name, value: %q %q: quotes, backslashes and line breaks are not possible", l.Name, l.Value)
	}
	set := 0
	for _, v := range []float64{float64(l.Bytes), l.Packets, l.Flows} {
		if v < 0 {
			return errors.New("bytes, packets, flows: less than zero")
		}
		if v > 0 {
			set++
		}
	}
	if set != 1 {
		return errors.New("bytes, packets, flows: exactly one of them is needed")
	}
	if l.Duration < time.Minute || l.Duration > time.Hour || l.Duration%time.Minute != 0 {
		return fmt.Errorf("duration: %v is not 1 to 60 whole minutes", l.Duration)
	}
	switch l.Direction {
	case "", "in", "out", "both":
	default:
		return fmt.Errorf("direction: %q is not in, out or both", l.Direction)
	}
	switch l.Severity {
	case "", "low", "medium", "high":
	default:
		return fmt.Errorf("severity: %q is not low, medium or high", l.Severity)
	}
	switch l.Of {
	case "interface", "application":
		if l.Value == "" {
			return errors.New("value: is empty")
		}
	case "port":
		if n, err := strconv.ParseUint(l.Value, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("value: %q is no port", l.Value)
		}
	case "host":
		if _, err := netip.ParseAddr(l.Value); l.Value != "" && err != nil {
			return fmt.Errorf("value: %w", err)
		}
	case "network":
		if _, err := netip.ParsePrefix(l.Value); err != nil {
			return fmt.Errorf("value: %w", err)
		}
	default:
		return fmt.Errorf("of: %q is not interface, host, network, port or application", l.Of)
	}
	return nil
}

// All returns the detectors, the quick ones first: one for each duration that a
// limit has.
func All(own detect.Own, c Config) []detect.Detector {
	return append(newLimits(own, c.Limits), newServiceHealth(own, c.ServiceHealth))
}
