package egress_test

import (
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/analyzer/detect/egress"
)

func TestMain(m *testing.M) { detecttest.Main(m) }

func all() []detect.Detector { return egress.All(detecttest.Own(), egress.DefaultConfig()) }

func TestScenarios(t *testing.T) { detecttest.Scenarios(t, all()) }

func TestReadme(t *testing.T) { detecttest.Readme(t, all()) }
