// Package novelty has the detectors of what is new, rare, listed or against the
// rules: hosts, services and destinations never seen before, contacts on threat
// lists, servers and protocols that ought not to be there, and rules of the user's
// own. In come windows of stored flows and rollups; out go alerts. What a site has
// learnt is a function of its history, so nothing is kept here.
package novelty

import (
	"errors"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Config are the thresholds of the detectors here.
type Config struct {
	NewHost          NewHostConfig          `conf:"new_host"`
	NewService       NewServiceConfig       `conf:"new_service"`
	NewAdmin         NewAdminConfig         `conf:"new_admin"`
	RareDestination  RareDestinationConfig  `conf:"rare_destination"`
	ThreatList       ThreatListConfig       `conf:"threat_list"`
	UnexpectedServer UnexpectedServerConfig `conf:"unexpected_server"`
	ArpSpoofing      ArpSpoofingConfig      `conf:"arp_spoofing"`
	LdapDiscovery    LdapDiscoveryConfig    `conf:"ldap_discovery"`
	Policy           []Rule                 `conf:"policy" help:"rules about who may reach what, and when"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		NewHost:          NewHostConfig{GraceDays: 7, Together: 3},
		NewService:       NewServiceConfig{GraceDays: 7},
		NewAdmin:         NewAdminConfig{GraceDays: 7},
		RareDestination:  RareDestinationConfig{MinBytes: 100_000, MaxShare: 0.02, MinHosts: 50, NewDays: 7, GraceDays: 7},
		ThreatList:       ThreatListConfig{RaiseBytes: 25_000_000},
		UnexpectedServer: UnexpectedServerConfig{GraceDays: 7},
		ArpSpoofing:      ArpSpoofingConfig{MinAnswers: 4},
		LdapDiscovery:    LdapDiscoveryConfig{MinBytes: 200_000, MinRatio: 10},
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	return errors.Join(
		detect.CheckCounts(1, map[string]int{"new_host.grace_days": c.NewHost.GraceDays, "new_host.together": c.NewHost.Together, "new_service.grace_days": c.NewService.GraceDays, "new_admin.grace_days": c.NewAdmin.GraceDays,
			"rare_destination.grace_days": c.RareDestination.GraceDays, "rare_destination.new_days": c.RareDestination.NewDays, "unexpected_server.grace_days": c.UnexpectedServer.GraceDays,
			"arp_spoofing.min_answers": c.ArpSpoofing.MinAnswers}),
		detect.CheckShares(map[string]float64{"rare_destination.max_share": c.RareDestination.MaxShare}),
		detect.CheckPositive(map[string]float64{"ldap_discovery.min_ratio": c.LdapDiscovery.MinRatio, "ldap_discovery.min_bytes": float64(c.LdapDiscovery.MinBytes),
			"rare_destination.min_bytes": float64(c.RareDestination.MinBytes), "threat_list.raise_bytes": float64(c.ThreatList.RaiseBytes)}),
		checkRules(c.Policy),
	)
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	return []detect.Detector{
		newArpSpoofing(own, c.ArpSpoofing),
		newThreatList(own, c.ThreatList),
		newPolicy(own, c.Policy),
		newUnexpectedServer(own, c.UnexpectedServer),
		newCryptomining(own),
		newAnonymiser(own),
		newLdapDiscovery(own, c.LdapDiscovery),
		newClearCredentials(own),
		newWeakProtocol(own),
		newProbeSilence(own),
		newNewHost(own, c.NewHost),
		newNewService(own, c.NewService),
		newNewAdmin(own, c.NewAdmin),
		newRareDestination(own, c.RareDestination),
	}
}
