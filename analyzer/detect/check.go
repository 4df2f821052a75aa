package detect

import (
	"fmt"
	"maps"
	"slices"
)

// CheckShares says which of the settings, by name, is not within 0 to 1.
func CheckShares(settings map[string]float64) error {
	return check(settings, func(v float64) bool { return v >= 0 && v <= 1 }, "not within 0 to 1")
}

// CheckPositive says which of the settings, by name, is not greater than zero.
func CheckPositive(settings map[string]float64) error {
	return check(settings, func(v float64) bool { return v > 0 }, "not greater than zero")
}

// CheckCounts says which of the settings, by name, is less than least.
func CheckCounts(least int, settings map[string]int) error {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if settings[name] < least {
			return fmt.Errorf("%s: %d is less than %d", name, settings[name], least)
		}
	}
	return nil
}

func check(settings map[string]float64, good func(float64) bool, fault string) error {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !good(settings[name]) {
			return fmt.Errorf("%s: %v is %s", name, settings[name], fault)
		}
	}
	return nil
}
