// Package behaviour has the detectors that compare hosts, users, links and
// applications with their own past.
package behaviour

import (
	"fmt"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Config are the thresholds of the detectors here.
type Config struct {
	HostBehaviour HostBehaviourConfig `conf:"host_behaviour"`
	UserBehaviour UserBehaviourConfig `conf:"user_behaviour"`
	LinkForecast  ForecastConfig      `conf:"link_forecast"`
	AppForecast   ForecastConfig      `conf:"app_forecast"`
	LinkCapacity  CapacityConfig      `conf:"link_capacity"`
	Drift         DriftConfig         `conf:"drift"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		HostBehaviour: HostBehaviourConfig{MinZ: 4, AloneZ: 6, Record: 2, HistoryDays: 28, WarmUpDays: 14,
			MinBytes: 10_000_000, MinFlows: 100, MinFailed: 50, MinPeers: 20, MinQueries: 200},
		UserBehaviour: UserBehaviourConfig{MinZ: 4, AloneZ: 6, Record: 2, HistoryDays: 28, KnownDays: 90, WarmUpDays: 14, MinDays: 8, MaxMachines: 2, Several: 3,
			CommonUsers: 3, MaxAddresses: 5, SlackHours: 2, HoldHours: 12, Together: 0.1, MinBytes: 10_000_000, MinFlows: 100, MinPeers: 20, MinFailed: 50},
		LinkForecast: ForecastConfig{MinBytes: 10_000_000, Coverage: 0.99, InARow: 3, HistoryDays: 35, WarmUpDays: 14},
		AppForecast:  ForecastConfig{MinBytes: 100_000_000, Coverage: 0.99, InARow: 3, HistoryDays: 28, WarmUpDays: 14},
		LinkCapacity: CapacityConfig{Share: 0.8, WithinDays: 30, HistoryDays: 60, WarmUpDays: 14, MinRising: 0.7},
		Drift:        DriftConfig{MaxP: 0.001, MinEffect: 0.2, MinValues: 200},
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	h := c.HostBehaviour
	if err := detect.CheckPositive(map[string]float64{"host_behaviour.min_z": h.MinZ, "host_behaviour.alone_z": h.AloneZ,
		"host_behaviour.min_bytes": float64(h.MinBytes)}); err != nil {
		return err
	}
	if err := detect.CheckCounts(1, map[string]int{"host_behaviour.history_days": h.HistoryDays, "host_behaviour.warm_up_days": h.WarmUpDays,
		"host_behaviour.min_flows": h.MinFlows, "host_behaviour.min_failed": h.MinFailed, "host_behaviour.min_peers": h.MinPeers,
		"host_behaviour.min_queries": h.MinQueries}); err != nil {
		return err
	}
	if err := c.UserBehaviour.check(); err != nil {
		return err
	}
	for name, f := range map[string]ForecastConfig{"link_forecast": c.LinkForecast, "app_forecast": c.AppForecast} {
		if f.Coverage <= 0 || f.Coverage >= 1 {
			return fmt.Errorf("%s.coverage: %v is not between 0 and 1", name, f.Coverage)
		}
		if err := detect.CheckCounts(1, map[string]int{name + ".in_a_row": f.InARow, name + ".history_days": f.HistoryDays, name + ".warm_up_days": f.WarmUpDays}); err != nil {
			return err
		}
	}
	if _, _, err := parseLinks(c.LinkCapacity.Links); err != nil {
		return fmt.Errorf("link_capacity.links: %w", err)
	}
	if err := detect.CheckPositive(map[string]float64{"link_capacity.share": c.LinkCapacity.Share, "link_capacity.within_days": float64(c.LinkCapacity.WithinDays)}); err != nil {
		return err
	}
	if err := detect.CheckShares(map[string]float64{"link_capacity.min_rising": c.LinkCapacity.MinRising, "drift.max_p": c.Drift.MaxP, "drift.min_effect": c.Drift.MinEffect}); err != nil {
		return err
	}
	if h.Model != "" {
		if _, err := LoadForest(h.Model); err != nil {
			return err
		}
	}
	return nil
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	list := []detect.Detector{newHostBehaviour(own, c.HostBehaviour), newUserBehaviour(own, c.UserBehaviour), newForecast("link", c.LinkForecast), newForecast("app", c.AppForecast), newDrift(c.Drift)}
	if len(c.LinkCapacity.Links) > 0 {
		list = append(list, newLinkCapacity(c.LinkCapacity))
	}
	return list
}
