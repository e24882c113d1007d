"""What the data plane's tests share: variant folders of real models, a real serve, the supervisor's side."""
