package access_test

import (
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/access"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
)

func TestMain(m *testing.M) { detecttest.Main(m) }

func all() []detect.Detector { return access.All(detecttest.Own(), access.DefaultConfig()) }

func TestScenarios(t *testing.T) { detecttest.Scenarios(t, all()) }

func TestReadme(t *testing.T) { detecttest.Readme(t, all()) }
