package analyzer

import (
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/catalogue"
)

// Detector and Window are those of package detect, for programs that may import
// only this one.
type (
	Detector = detect.Detector
	Window   = detect.Window
)

// Detectors returns those of the catalogue, without rules of a user's own.
func Detectors(cfg Config) []Detector { return catalogue.All(cfg.Detect) }
