// Package access has the detectors of those who want to get in, or further in:
// guessing at passwords, and moving from host to host.
package access

import (
	"errors"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Config are the thresholds of the detectors here.
type Config struct {
	BruteForce      BruteForceConfig      `conf:"brute_force"`
	PasswordSpray   PasswordSprayConfig   `conf:"password_spray"`
	RemoteExecution RemoteExecutionConfig `conf:"remote_execution"`
	LateralMovement LateralMovementConfig `conf:"lateral_movement"`
	Kerberoasting   KerberoastingConfig   `conf:"kerberoasting"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		BruteForce:      BruteForceConfig{MinAttempts: 9, MinAttemptsSlow: 30, MinAlike: 0.6, MinSources: 5, MinTogether: 30},
		PasswordSpray:   PasswordSprayConfig{MinUsers: 8, MinHosts: 5},
		RemoteExecution: RemoteExecutionConfig{MinLogins: 10},
		LateralMovement: LateralMovementConfig{MinHosts: 5, MinNew: 3, GraceDays: 7},
		Kerberoasting:   KerberoastingConfig{Many: 5},
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	return errors.Join(
		detect.CheckCounts(2, map[string]int{
			"brute_force.min_attempts": c.BruteForce.MinAttempts, "brute_force.min_attempts_slow": c.BruteForce.MinAttemptsSlow,
			"brute_force.min_sources": c.BruteForce.MinSources, "brute_force.min_together": c.BruteForce.MinTogether,
			"password_spray.min_users": c.PasswordSpray.MinUsers, "password_spray.min_hosts": c.PasswordSpray.MinHosts,
			"remote_execution.min_logins": c.RemoteExecution.MinLogins, "lateral_movement.min_hosts": c.LateralMovement.MinHosts, "kerberoasting.many": c.Kerberoasting.Many}),
		detect.CheckCounts(1, map[string]int{"lateral_movement.min_new": c.LateralMovement.MinNew, "lateral_movement.grace_days": c.LateralMovement.GraceDays}),
		detect.CheckShares(map[string]float64{"brute_force.min_alike": c.BruteForce.MinAlike}),
	)
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	return []detect.Detector{
		newBruteForce(own, c.BruteForce),
		newRemoteExecution(own, c.RemoteExecution),
		newKerberoasting(own, c.Kerberoasting),
		newPasswordSpray(own, c.PasswordSpray, c.BruteForce.MinAttempts),
		newLateralMovement(own, c.LateralMovement),
		newBruteForceSlow(own, c.BruteForce),
	}
}
