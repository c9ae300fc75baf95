"""Colours and letters: CSS classes, with a dark scheme where the reader has one."""

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1b2733 }
.title { font-size: 15px; font-weight: 600 } .name { font-weight: 600 } .dim { fill: #5b6b7b; font-size: 11px }
.mono { font-family: ui-monospace, monospace; font-size: 11px } .tiny { font-size: 9.5px; font-weight: 600 }
.node { fill: #f3f6fa; stroke: #9fb1c4 } .fabric { fill: #dfe8f3; stroke: #8aa2bd }
.bridge { fill: #e6eef7; stroke: #9fb1c4 }
.pod { fill: #ffffff; stroke: #2a7ab9; stroke-width: 1.5 } .waiting { stroke-dasharray: 4 3; stroke: #b3541e }
.service { fill: #fff8e6; stroke: #c2930a } .wire { stroke: #8aa2bd; fill: none; stroke-width: 1.5 }
.flow { stroke: #c2930a; fill: none; opacity: .4 }
.policy { fill: #f6eefb; stroke: #8a4fb3 } .closed { fill: #8a4fb3 } .closed + text { fill: #ffffff }
.asked { stroke-width: 3 }
.out { stroke: #c2185b; fill: none; stroke-width: 3; stroke-linejoin: round; stroke-linecap: round; opacity: .85 }
.back { stroke: #00796b; fill: none; stroke-width: 3; stroke-dasharray: 1 6; stroke-linejoin: round;
  stroke-linecap: round }
.dot-out, .end-bad { fill: #c2185b } .dot-back, .end-good { fill: #00796b } .end { font-weight: 700; fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .dim { fill: #9fb1c4 } .node { fill: #18222d; stroke: #3d5166 }
  .fabric, .bridge { fill: #22303f; stroke: #4d647d } .pod { fill: #0f1720; stroke: #5aa9e6 }
  .waiting { stroke: #f0935a } .service { fill: #2c2610; stroke: #e0b93a } .flow { stroke: #e0b93a }
  .policy { fill: #251a2e; stroke: #b98ad6 } .closed { fill: #b98ad6 } .closed + text { fill: #1b1022 }
  .out { stroke: #ff5c93 } .back { stroke: #4fd1c0 } .dot-out, .end-bad { fill: #ff5c93 }
  .dot-back, .end-good { fill: #4fd1c0 } .end { fill: #10202a }
}"""
