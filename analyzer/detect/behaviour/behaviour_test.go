package behaviour_test

import (
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/behaviour"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
)

func TestMain(m *testing.M) { detecttest.Main(m) }

func all() []detect.Detector { return behaviour.All(detecttest.Own(), behaviour.DefaultConfig()) }

func TestScenarios(t *testing.T) { detecttest.Scenarios(t, all()) }

func TestReadme(t *testing.T) { detecttest.Readme(t, all()) }
