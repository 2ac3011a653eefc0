"""What a picture's UNet needs to make the views of a set: attention between views, camera codes, projection layers
(ViewDiff, Höllein et al. 2024). All of it is added to a stock UNet2DConditionModel by `install.add_views`."""
