package recon_test

import (
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/analyzer/detect/recon"
)

func TestMain(m *testing.M) { detecttest.Main(m) }

func all() []detect.Detector { return recon.All(detecttest.Own(), recon.DefaultConfig()) }

func TestScenarios(t *testing.T) { detecttest.Scenarios(t, all()) }

func TestReadme(t *testing.T) { detecttest.Readme(t, all()) }
