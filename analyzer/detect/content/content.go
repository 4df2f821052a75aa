// Package content has the detectors that look at what flows carry, as far as the
// probe has told: attacks in requests, certificates and versions of TLS, clients
// that claim to be others, and what models of traffic say.
package content

import (
	"errors"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Config are the thresholds of the detectors here.
type Config struct {
	Injection      InjectionConfig      `conf:"injection"`
	TLSRisk        TLSRiskConfig        `conf:"tls_risk"`
	TLSProfile     TLSProfileConfig     `conf:"tls_profile"`
	TrafficClass   TrafficClassConfig   `conf:"traffic_class"`
	UnknownCluster UnknownClusterConfig `conf:"unknown_cluster"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		Injection:      InjectionConfig{MinSuspect: 3},
		TLSRisk:        TLSRiskConfig{MaxClients: 2, LongDays: 825, YoungDays: 7, HistoryDays: 30},
		TLSProfile:     TLSProfileConfig{HistoryDays: 14, YoungDays: 7, MinClients: 5, MaxClients: 2, MinDistance: 0.6},
		TrafficClass:   TrafficClassConfig{MinFlows: 5},
		UnknownCluster: UnknownClusterConfig{MinConnections: 5},
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	return errors.Join(
		detect.CheckCounts(1, map[string]int{"injection.min_suspect": c.Injection.MinSuspect, "tls_profile.history_days": c.TLSProfile.HistoryDays, "tls_profile.young_days": c.TLSProfile.YoungDays, "tls_profile.min_clients": c.TLSProfile.MinClients, "tls_profile.max_clients": c.TLSProfile.MaxClients,
			"traffic_class.min_flows": c.TrafficClass.MinFlows, "unknown_cluster.min_connections": c.UnknownCluster.MinConnections,
			"tls_risk.max_clients": c.TLSRisk.MaxClients, "tls_risk.long_days": c.TLSRisk.LongDays, "tls_risk.history_days": c.TLSRisk.HistoryDays}),
		detect.CheckShares(map[string]float64{"tls_profile.min_distance": c.TLSProfile.MinDistance}),
		detect.CheckCounts(0, map[string]int{"tls_risk.young_days": c.TLSRisk.YoungDays}),
	)
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	return []detect.Detector{
		newInjection(own, c.Injection),
		newTLSRisk(own, c.TLSRisk),
		newTLSProfile(own, c.TLSProfile),
		newTrafficClass(own, c.TrafficClass),
		newUnknownCluster(own, c.UnknownCluster),
	}
}
